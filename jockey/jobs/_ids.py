"""Names for jobs: new ones, in the order of time, and ones that follow from others."""

from __future__ import annotations

import functools
import os
import time
import uuid
from typing import Any, Final, cast

_JOBS: Final = uuid.UUID("6d7c8a52-53d8-5d0c-8c0e-0b6f6a1c2f47")

_AT_ONCE: Final = 256
_RANDOM: Final = int("3fff" * _AT_ONCE, 16)
_VARIANT: Final = int("8000" * _AT_ONCE, 16)
_FRACTIONS: Final = [f"{number:03x}" for number in range(4096)]

_random: Final[list[str]] = []
"""Ends of ids that nobody has had yet: to ask the system for each would cost more than all the rest of an id."""


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, with the time to about a quarter of a microsecond), as text."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    while True:
        try:
            # In one step, so that no two threads get the same one.
            return f"{_start(milliseconds)}{_FRACTIONS[rest * 4096 // 1_000_000]}-{_random.pop()}"
        except IndexError:
            _random.extend(_random_ends())


@functools.lru_cache(maxsize=8)
def _start(milliseconds: int) -> str:
    text = f"{milliseconds:012x}"
    return f"{text[:8]}-{text[8:]}-7"


def _random_ends() -> list[str]:
    """Return the last two parts of ids: the variant, and 62 random bits."""
    variants = int.from_bytes(os.urandom(2 * _AT_ONCE)) & _RANDOM | _VARIANT
    heads = variants.to_bytes(2 * _AT_ONCE).hex("-", 2).split("-")
    tails = os.urandom(6 * _AT_ONCE).hex("-", 6).split("-")
    return [f"{head}-{tail}" for head, tail in zip(heads, tails, strict=True)]


# A copy of the process must not have the same ones. There are none on Windows.
cast("Any", getattr(os, "register_at_fork", dict))(after_in_child=_random.clear)


def derived_id(parent: str, place: str) -> str:
    """Return the id of what has that *place* below *parent*: always the same one, so that it is enqueued once."""
    return str(uuid.uuid5(_JOBS, f"{parent}\n{place}"))
