"""What users need to test their adapters and handlers: a recording adapter and a clock that does not wait."""

from __future__ import annotations

from jockey.testing._recorder import Call, Callback, Event, Recorder
from jockey.testing._run import Backend, run, settle
from jockey.testing._stalled import StalledError

__all__ = [
    "Backend",
    "Call",
    "Callback",
    "Event",
    "Recorder",
    "StalledError",
    "run",
    "settle",
]
