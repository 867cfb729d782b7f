"""Messages as bytes: what was written is read again, short forms are understood, and only one error ever comes out."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import uuid
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jockey.jobs import DecodeError, Message, Retry, Trouble
from jockey.jobs import _codec as codec
from jockey.jobs._ids import derived_id, new_id
from jockey.jobs._message import Join, Step

texts = st.text(st.characters(codec="utf-8"), max_size=10)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
numbers = st.floats(0, 1e12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda items: st.lists(items, max_size=3) | st.dictionaries(texts, items, max_size=3),
    max_leaves=5,
)
troubles = st.builds(Trouble, type=texts, message=texts, traceback=texts, at=numbers, worker=texts)
policies = st.sampled_from([None, Retry.once.to_plain(), Retry.always.to_plain(), {"max_tries": 2}])
uniqueness = st.sampled_from([None, "queued", "unfinished", 3.5])


def steps_of(children: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    some = st.lists(children, max_size=2).map(tuple)
    return st.builds(
        Step,
        name=names,
        queue=names,
        args=st.lists(plain, max_size=2).map(tuple),
        takes=st.booleans(),
        options=st.fixed_dictionaries({}, optional={"delay": numbers, "retry": policies, "unique_for": uniqueness}),
        on_success=some,
        on_failure=some,
        join=st.none() | joins(children),
    )


def joins(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Join]:
    return st.builds(Join, id=names, index=st.integers(0, 9), count=st.integers(10, 19), then=steps)


steps = st.recursive(st.builds(Step, name=names), steps_of, max_leaves=3)
messages = st.builds(
    Message,
    id=names,
    name=names,
    queue=names,
    args=st.lists(plain, max_size=3).map(tuple),
    kwargs=st.dictionaries(texts, plain, max_size=3),
    priority=st.integers(0, 2),
    attempt=st.integers(0, 99),
    enqueued_at=numbers,
    not_before=numbers,
    timeout=st.none() | numbers,
    retry=policies,
    result_ttl=st.none() | numbers,
    group=st.none() | texts,
    unique=st.none() | texts,
    unique_for=uniqueness,
    on_success=st.lists(steps, max_size=2).map(tuple),
    on_failure=st.lists(steps, max_size=2).map(tuple),
    parent=st.none() | names,
    join=st.none() | joins(steps),
    troubles=st.lists(troubles, max_size=2).map(tuple),
)


@settings(max_examples=50)
@given(messages)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    body = codec.encode(message)

    assert codec.decode(body, message.queue) == message
    assert json.loads(body)["v"] == 1


def test_what_has_its_default_is_left_out() -> None:
    assert json.loads(codec.encode(Message(id="7", name="send"))) == {"v": 1, "id": "7", "name": "send"}


@pytest.mark.parametrize(
    "body",
    [
        {"v": 1, "name": "send", "args": [1], "kwargs": {"to": "you"}, "what is this": None},
        {"name": "send", "args": [1], "kwargs": {"to": "you"}, "v": 1, "id": ""},
        {"name": "send", "args": [1], "kwargs": {"to": "you"}},
        {"name": "send", "args": [1], "kwargs": {"to": "you"}, "namespace": "mail"},
        {"job": {"name": "send", "args": [1], "kwargs": {"to": "you"}}},
        {"job": {"name": "send", "args": [1], "kwargs": {"to": "you"}, "namespace": "mail"}, "other": 1},
    ],
)
def test_forms_of_other_producers_are_understood(body: dict[str, Any]) -> None:
    message = codec.decode(json.dumps(body).encode(), "mail")

    assert uuid.UUID(message.id).version == 7
    assert message == Message(id=message.id, name="send", queue="mail", args=(1,), kwargs={"to": "you"})
    assert codec.decode(json.dumps(body).encode(), "mail", id="from the broker").id == "from the broker"


@pytest.mark.parametrize("body", [{"v": 1, "name": "a", "id": "7"}, {"name": "a", "id": "7"}])
def test_a_job_has_the_id_that_its_body_names_and_the_queue_where_it_arrived(body: dict[str, Any]) -> None:
    message = codec.decode(json.dumps(body | {"queue": "elsewhere"}).encode(), "here", id="another")

    assert (message.id, message.queue, message.args, message.kwargs) == ("7", "here", (), {})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "cannot be read: Expected `object`, got `array`"),
        (b"{}", "missing required field `name`"),
        (b"\xff", "cannot be read"),
        (b'{"name": "\xff"}', "cannot be read"),
        (b'{"name": ""}', "the message has an empty name"),
        (b'{"name": 3}', "Expected `str`, got `int`"),
        (b'{"v": 2, "name": "a"}', "version 2; this jockey reads version 1"),
        (b'{"v": true, "name": "a"}', "version True"),
        (b'{"v": {"a": 1}, "name": "a"}', "version {'a': 1}"),
        (b'{"v": 1, "id": "1"}', "missing required field `name`"),
        (b'{"v": 1, "name": "a", "args": 3}', "Expected `array`"),
        (b'{"v": 1, "name": "a", "priority": 3}', r"priority must be one of \[0, 1, 2\], got 3"),
        (b'{"v": 1, "name": "a", "attempt": -1}', "attempt must be at least 0 and less than 2147483648, got -1"),
        (b'{"v": 1, "name": "a", "attempt": 2147483648}', "attempt must be at least 0 and less than 2147483648, got 2"),
        (b'{"v": 1, "name": "a", "timeout": -0.5}', "timeout must be at least 0, got -0.5"),
        (b'{"v": 1, "name": "a", "not_before": 1e999}', "cannot be read|not_before must be"),
        (b'{"v": 1, "name": "a", "retry": {"max_tries": 0}}', "retry is no policy: max_tries must be at least 1"),
        (b'{"v": 1, "name": "a", "retry": {"tries": 3}}', "retry is no policy"),
        (b'{"v": 1, "name": "a", "unique_for": "ever"}', "unique_for must be .* got 'ever'"),
        (b'{"v": 1, "name": "a", "unique_for": 0}', "unique_for must be above 0, got 0"),
        (b'{"v": 1, "name": "a", "on_success": [{"name": "b", "options": {"delay": -1}}]}', "delay must be at least"),
        (b'{"v": 1, "name": "a", "on_success": [{"name": "b", "options": {"group": 5}}]}', "Expected `str . null`"),
        (b'{"v": 1, "name": "a", "on_failure": [{"name": "b", "options": {"colour": 5}}]}', "unknown field `colour`"),
        (b'{"v": 1, "name": "a", "on_failure": [{"name": "b", "options": {"priority": 5}}]}', "priority must be"),
        (
            b'{"v": 1, "name": "a", "join": {"id": "1", "index": 0, "count": 1,'
            b' "then": {"name": "b", "options": {"at": "now"}}}}',
            "Expected `float . null`",
        ),
        (
            b'{"v": 1, "name": "a", "join": {"id": "1", "index": 1, "count": 1, "then": {"name": "b"}}}',
            "a group of 1 jobs has no place 1; its places are counted from 0",
        ),
        (
            b'{"v": 1, "name": "a", "on_success": [{"name": "b", "join": {"id": "1", "index": -1, "count": 1,'
            b' "then": {"name": "c"}}}]}',
            "a group of 1 jobs has no place -1",
        ),
        (b'{"job": 3}', "Expected `object`, got `int`"),
        (b'{"job": {"args": []}}', "missing required field `name`"),
    ],
)
def test_what_is_no_message_says_why(body: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        codec.decode(body)


def test_a_body_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_SIZE", 20)

    with pytest.raises(DecodeError, match="the message has 24 bytes; 20 are allowed"):
        codec.decode(b'{"v":1,"id":"","name":1}')


@pytest.mark.parametrize("depth", [500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_body_that_is_too_deep_is_not_read(depth: int, opening: bytes, closing: bytes) -> None:
    inner = opening * depth + b"1" + closing * depth

    for body in (inner, b'{"name":"a","args":' + inner + b"}", b'{"name":"a","unknown":' + inner + b"}"):
        with pytest.raises(DecodeError, match="nested more than 400 deep"):
            codec.decode(body)


def test_many_brackets_are_not_deep() -> None:
    inside = [[{}] * 1000, '["\\"[[' * 1000]

    assert codec.decode(json.dumps({"name": "a", "args": inside}).encode()).args == tuple(inside)


@given(st.binary(max_size=100))
@example(b'{"v":1,"id":"1","name":"a"')
@example(b'"' + b'\\"' * 1000 + b"[" * 401)
def test_only_one_error_ever_comes_out_of_noise(body: bytes) -> None:
    try:
        message = codec.decode(body)
    except DecodeError:
        return
    assert isinstance(message, Message)


FIELDS = [*Message.__struct_fields__, "v", "job", "namespace", "then", "options", "takes"]


@given(st.dictionaries(st.sampled_from(FIELDS), plain | st.just("a") | st.just([{"name": "b"}])))
def test_only_one_error_ever_comes_out_of_what_looks_like_a_message(body: dict[str, Any]) -> None:
    try:
        message = codec.decode(json.dumps({"name": "a"} | body).encode())
    except DecodeError:
        return
    assert codec.decode(codec.encode(message), message.queue) == message


@settings(max_examples=50)
@given(messages, st.randoms(use_true_random=False))
def test_only_one_error_ever_comes_out_of_a_broken_message(message: Message, dice: random.Random) -> None:
    body = bytearray(codec.encode(message))
    for _ in range(dice.randint(1, 3)):
        body[dice.randrange(len(body))] = dice.choice(b'"{}[]:,0-\\\xff ')

    with contextlib.suppress(DecodeError):
        codec.decode(bytes(body))


_FORK = """
import os
from jockey.jobs._ids import new_id
new_id()
reader, writer = os.pipe()
child = os.fork()
mine = "".join(new_id()[19:] for _ in range(3))
if not child:
    os.write(writer, mine.encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reader, 1000).decode() != mine)
"""


def test_new_ids_are_all_different() -> None:
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {(uuid.UUID(id_).version, uuid.UUID(id_).variant) for id_ in ids} == {(7, uuid.RFC_4122)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no copies of processes here")
def test_a_copy_of_the_process_makes_ids_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "True"


def test_new_ids_are_in_the_order_of_time() -> None:
    ids = [uuid.UUID(new_id()) for _ in range(100)]

    assert len(set(ids)) == 100
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)


def test_derived_ids_are_always_the_same() -> None:
    assert derived_id("parent", "0") == derived_id("parent", "0")
    assert len({derived_id(parent, place) for parent in ("a", "ab") for place in ("b", "0", "")}) == 6
