"""Names for jobs: new ones, in the order of time, and ones that follow from others."""

from __future__ import annotations

import os
import time
import uuid
from typing import Final

_JOBS: Final = uuid.UUID("6d7c8a52-53d8-5d0c-8c0e-0b6f6a1c2f47")


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, with the time to about a quarter of a microsecond), as text."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    random = os.urandom(8).hex()
    variant = "89ab"[int(random[0], 16) & 3]
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{fraction:03x}-{variant}{random[1:4]}-{random[4:]}"


def derived_id(parent: str, place: str) -> str:
    """Return the id of what has that *place* below *parent*: always the same one, so that it is enqueued once."""
    return str(uuid.uuid5(_JOBS, f"{parent}\n{place}"))
