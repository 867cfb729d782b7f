"""
Messages as bytes: JSON, versioned, for any language.

A body is the fields of `Message` with ``"v": 1``; those that have their default may be left out, and so may ``"id"``.
Two shorter forms of other producers are read as well: ``{"name", "args", "kwargs", "namespace"}``, of which only the
name is needed, and ``{"job": {...}}`` around such an object. The queue is the one where it arrives, whatever it says.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jockey._errors import RegistrationError
from jockey._options import Priority
from jockey.jobs._errors import DecodeError
from jockey.jobs._ids import new_id
from jockey.jobs._message import Message
from jockey.jobs._retry import Retry
from jockey.jobs._workflow import step_options

if TYPE_CHECKING:
    from jockey.jobs._message import Join, Step
    from jockey.jobs._workflow import StepOptions

VERSION: Final = 1

MAX_SIZE: Final = 64 * 1024 * 1024
"""Bytes of a body; larger ones are not read."""

MAX_DEPTH: Final = 400
"""So deep may lists and objects be nested in each other in a body; deep enough for a chain of 100 tasks."""

MANY: Final = 2**31
"""Fewer are the tries of a job, and the jobs of a group: brokers count them in whole numbers of a fixed size."""

_START: Final = b'{"v":%d,' % VERSION


class _Incoming(Message, frozen=True, kw_only=True):
    id: str = ""
    queue: str = ""


class _Minimal(msgspec.Struct, frozen=True):
    name: str
    args: tuple[Any, ...] = ()  # whatever JSON can hold
    kwargs: dict[str, Any] = {}
    namespace: str | None = None
    id: str = ""


class _Wrapped(msgspec.Struct, frozen=True):
    job: _Minimal


class _Look(msgspec.Struct, frozen=True):
    v: Any = None  # whatever a stranger wrote
    job: msgspec.Raw = msgspec.Raw(b"")


_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)  # a text, or a bracket outside of texts
_NOTHING: Final = (msgspec.Raw(b""), msgspec.Raw(b"null"))
_PRIORITIES: Final = frozenset(map(int, Priority))

_look: Final = msgspec.json.Decoder(_Look)
_message: Final = msgspec.json.Decoder(Message)
_incoming: Final = msgspec.json.Decoder(_Incoming)
_minimal: Final = msgspec.json.Decoder(_Minimal)
_wrapped: Final = msgspec.json.Decoder(_Wrapped)
_encoder: Final = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """Return the body that travels."""
    # It always has an id and a name: so something follows the comma.
    return _START + _encoder.encode(message)[1:]


def decode(body: bytes, queue: str = "default", *, id: str | None = None) -> Message:  # noqa: A002 - the field's name
    """
    Return the message that travelled as *body*.

    Args:
        body: JSON.
        queue: Where it arrived; a body that names another queue (or none) does not change that.
        id: Used for a body that has none; None is a new one.

    Raises:
        DecodeError: It is none; no other error is ever raised.
    """
    if len(body) > MAX_SIZE:
        raise DecodeError(f"the message has {len(body)} bytes; {MAX_SIZE} are allowed")
    try:
        message = _read(body, queue, id)
        _check(message)
    except RecursionError:
        raise DecodeError(f"the message is nested more than {MAX_DEPTH} deep") from None
    except DecodeError:
        raise
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(f"the message cannot be read: {error}") from error
    return message


def _read(body: bytes, queue: str, id_: str | None) -> Message:
    _check_depth(body)
    if not body.startswith(_START):
        look = _look.decode(body)
        if look.job not in _NOTHING:
            return _from_minimal(_wrapped.decode(body).job, queue, id_)
        if look.v is None:
            return _from_minimal(_minimal.decode(body), queue, id_)
        if look.v != VERSION or isinstance(look.v, bool):
            raise DecodeError(f"the message has the version {look.v!r:.40}; this jockey reads version {VERSION}")
    try:
        message = _message.decode(body)
    except msgspec.ValidationError:  # perhaps it has no id
        incoming = _incoming.decode(body)
        fields = {name: getattr(incoming, name) for name in Message.__struct_fields__}
        message = Message(**fields)
    if message.id and message.queue == queue:
        return message
    return msgspec.structs.replace(message, id=message.id or id_ or new_id(), queue=queue)


def _from_minimal(minimal: _Minimal, queue: str, id_: str | None) -> Message:
    return Message(
        id=minimal.id or id_ or new_id(), name=minimal.name, queue=queue, args=minimal.args, kwargs=minimal.kwargs
    )


def _check_depth(body: bytes) -> None:
    # What opens no more than so many brackets at all is not deeper, and that is most of what comes.
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(body):
        first = token.group()[:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            raise RecursionError


def _check(message: Message) -> None:
    if not message.name:
        raise DecodeError("the message has an empty name; it must be that of a task")
    if message.priority not in _PRIORITIES:
        raise DecodeError(f"priority must be one of {sorted(_PRIORITIES)}, got {message.priority}")
    if not 0 <= message.attempt < MANY:
        raise DecodeError(f"attempt must be at least 0 and less than {MANY}, got {message.attempt}")
    _check_numbers(message, ("enqueued_at", "not_before", "timeout", "result_ttl"))
    _check_words(message)
    _check_steps(message.on_success)
    _check_steps(message.on_failure)
    _check_join(message.join)


def _check_steps(steps: tuple[Step, ...]) -> None:
    for step in steps:
        options = step_options(step)
        if options.priority not in _PRIORITIES:
            raise DecodeError(f"priority must be one of {sorted(_PRIORITIES)}, got {options.priority}")
        _check_numbers(options, ("delay", "at", "timeout", "result_ttl"))
        _check_words(options)
        _check_steps(step.on_success)
        _check_steps(step.on_failure)
        _check_join(step.join)


def _check_join(join: Join | None) -> None:
    if join is None:
        return
    if not 0 <= join.index < join.count < MANY:
        raise DecodeError(f"a group of {join.count} jobs has no place {join.index}; its places are counted from 0")
    _check_steps((join.then,))


def _check_numbers(what: Message | StepOptions, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(what, name)
        if value is not None and not 0 <= value < math.inf:
            raise DecodeError(f"{name} must be at least 0, got {value}")


def _check_words(what: Message | StepOptions) -> None:
    value = what.unique_for
    if isinstance(value, str):
        if value not in {"queued", "unfinished"}:
            raise DecodeError(f'unique_for must be "queued", "unfinished" or a number above 0, got {value!r:.40}')
    elif value is not None and not 0 < value < math.inf:
        raise DecodeError(f"unique_for must be above 0, got {value}")
    if what.retry is not None:
        try:
            Retry.of(what.retry)
        except (RegistrationError, TypeError) as error:
            raise DecodeError(f"retry is no policy: {error}") from error
