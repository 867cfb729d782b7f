"""Names for jobs: new ones, in the order of time, and ones that follow from others."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any, Final, cast

_JOBS: Final = uuid.UUID("6d7c8a52-53d8-5d0c-8c0e-0b6f6a1c2f47")


_AT_ONCE: Final = 256
_RANDOM: Final = int("3fffffffffffffff" * _AT_ONCE, 16)
_VARIANT: Final = int("8000000000000000" * _AT_ONCE, 16)

_random: Final[list[str]] = []
"""Ends of ids that nobody has had yet: to ask the system for each would cost more than all the rest of an id."""


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, with the time to about a quarter of a microsecond), as text."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    start = (milliseconds << 12 | rest * 4096 // 1_000_000).to_bytes(8).hex()
    while True:
        try:
            # In one step, so that no two threads get the same one.
            return f"{start[1:9]}-{start[9:13]}-7{start[13:]}-{_random.pop()}"
        except IndexError:
            _random.extend(_random_ends())


def _random_ends() -> list[str]:
    """Return the last two parts of ids: the variant, and 62 random bits."""
    random = int.from_bytes(os.urandom(8 * _AT_ONCE)) & _RANDOM | _VARIANT
    text = f"{random:x}"
    return [f"{text[place : place + 4]}-{text[place + 4 : place + 16]}" for place in range(0, len(text), 16)]


# A copy of the process must not have the same ones. There are none on Windows.
cast("Any", getattr(os, "register_at_fork", dict))(after_in_child=_random.clear)


def derived_id(parent: str, place: str) -> str:
    """Return the id of what has that *place* below *parent*: always the same one, so that it is enqueued once."""
    return str(uuid.uuid5(_JOBS, f"{parent}\n{place}"))
