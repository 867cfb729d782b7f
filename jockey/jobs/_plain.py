"""Values as JSON has them, and back: the one place that knows which types there are."""

from __future__ import annotations

import contextlib
import math
import re
import reprlib
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH: Final = 100
"""So deep may lists and objects be nested in each other in one value."""

PLAIN: Final = frozenset({int, bool, type(None)})
"""The types whose values JSON has as they are; only whole numbers can be too large."""

MAX_DIGITS: Final = 4299
"""
So many may a whole number have.

Python reads no more than 4 300 at a time, since that takes very long, and msgspec counts the sign.
"""

_TOO_LARGE: Final[int] = 10**MAX_DIGITS
_TOO_SMALL: Final = -_TOO_LARGE

_TEXTS: Final = (bytes, bytearray, memoryview, date, datetime, time, timedelta, Decimal, UUID)
"""The types whose values JSON has as texts."""

_IS_TEXT: Final = re.compile("got `(bytes|date|datetime|time|duration|decimal|uuid)`")
"""What msgspec says when one of these is not what was expected."""


class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if is_short(x) else f"<a number of more than {MAX_DIGITS} digits>"


_SHOWN: Final = _Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 80


class UnfitError(Exception):
    """A value does not fit, for the reason that it gives; those who call say whose value it is."""


def to_plain(value: object, *, order: Literal["deterministic"] | None = None) -> Any:  # what JSON can hold
    """
    Return *value* as dicts, lists or tuples, strings, numbers, booleans and None.

    Args:
        value: Anything.
        order: "deterministic" sorts the keys of dicts, and sets.

    Raises:
        UnfitError: JSON has nothing for it.
    """
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_encoded, order=order)
    except RecursionError:
        raise UnfitError(_TOO_DEEP) from None
    except Exception as error:  # whatever a property or a model of the user's raises
        raise UnfitError(f"it cannot be written as JSON: {error}") from error
    _check(plain, MAX_DEPTH)
    return plain


def from_plain(plain: object, type_: Any) -> Any:  # any type form, and what it stands for
    """
    Return *plain* as a value of the type.

    Raises:
        UnfitError: It is none.
    """
    try:
        return msgspec.convert(plain, type_, str_keys=True, dec_hook=_decoded)
    except RecursionError:
        raise UnfitError(_TOO_DEEP) from None
    except Exception as error:  # whatever a constructor or a validator of the user's raises
        raise UnfitError(str(error)) from error


def check_kinds(value: object, type_: Any) -> None:  # any type form
    """
    See to it that nothing in *value* arrives as a text without being one: bytes, say, where the type is `str`.

    Raises:
        UnfitError: Something does.
    """
    # What cannot be looked at in this way, such as keys that are no texts, is as good as its JSON is.
    with contextlib.suppress(TypeError, NotImplementedError):
        kept = msgspec.to_builtins(value, str_keys=True, enc_hook=_encoded, builtin_types=_TEXTS)
        try:
            msgspec.convert(kept, type_, str_keys=True, dec_hook=_decoded, builtin_types=_TEXTS)
        except msgspec.ValidationError as error:
            # Texts that stand for one of these are fine: that is how JSON has them.
            if _IS_TEXT.search(str(error)):
                raise UnfitError(str(error)) from error


def copied(plain: object) -> Any:  # what JSON can hold
    """
    Return a copy of *plain*, all that is in it included.

    Raises:
        UnfitError: It is nested too deep.
    """
    try:
        return msgspec.to_builtins(plain)
    except RecursionError:
        raise UnfitError(_TOO_DEEP) from None


def to_json(value: object) -> bytes:
    """Return *value* as JSON, or raise `UnfitError`."""
    if type(value) in PLAIN and (type(value) is not int or is_short(value)):
        return msgspec.json.encode(value)
    return msgspec.json.encode(to_plain(value))


def is_short(number: int) -> bool:
    """Tell whether a whole number can be written, and read again."""
    return _TOO_SMALL < number < _TOO_LARGE


def are_short(numbers: Iterable[int]) -> bool:
    """Tell whether all of them can."""
    for number in numbers:  # noqa: SIM110 - called for each job, and a generator would cost more than all else
        if not _TOO_SMALL < number < _TOO_LARGE:
            return False
    return True


def is_valid(text: str) -> bool:
    """Tell whether UTF-8 has *text*: it has no halves of characters, such as Python makes of names of files."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def valid(text: str) -> str:
    """Return *text*, with what UTF-8 does not have written out."""
    return text if is_valid(text) else text.encode(errors="backslashreplace").decode()


def shown(value: object) -> str:
    """Return *value* for a message: not all of it, if it is long."""
    return _SHOWN.repr(value)


_TOO_DEEP: Final = f"it is nested more than {MAX_DEPTH} deep"


def _check(plain: object, depth: int) -> None:
    # msgspec would write null for what is no number, and find out too late about what is no text.
    if isinstance(plain, str):
        if not plain.isascii():
            _check_text(plain)
    elif isinstance(plain, int):
        if not is_short(plain):
            raise UnfitError(f"a whole number in it has more than {MAX_DIGITS} digits; send it as text")
    elif isinstance(plain, float):
        if not math.isfinite(plain):
            raise UnfitError(f"JSON has no {plain}")
    elif isinstance(plain, dict):
        items = cast("dict[str, object]", plain)
        _check_all(items, depth)
        _check_all(items.values(), depth)
    elif isinstance(plain, list | tuple):
        _check_all(cast("list[object]", plain), depth)


def _check_all(items: Iterable[object], depth: int) -> None:
    if not depth:
        raise UnfitError(_TOO_DEEP)
    for item in items:
        _check(item, depth - 1)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnfitError(f"it is no valid text: {error}") from error


def _encoded(value: object) -> object:
    model = _pydantic_model()
    if model is not None and isinstance(value, model):
        return cast("Any", value).model_dump(mode="json", by_alias=True)
    raise NotImplementedError(f"there is no JSON for {type(value).__qualname__}")


def _decoded(type_: type, plain: object) -> object:
    model = _pydantic_model()
    if model is not None and isinstance(type_, type) and issubclass(type_, model):
        # From JSON, and not from Python's objects: then strict models, too, take a string for a date.
        return cast("Any", type_).model_validate_json(msgspec.json.encode(plain))
    raise NotImplementedError(f"there is no JSON for {getattr(type_, '__qualname__', type_)}")


def _pydantic_model() -> type | None:
    # Whoever has a model has imported pydantic; nobody else shall wait for it.
    return getattr(sys.modules.get("pydantic"), "BaseModel", None)
