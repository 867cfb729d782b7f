"""aiometer: one function on each payload, some at once."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from tests.benchmarks.contenders.handlers import noop as handler

# Imported by name, because it may be absent where types are checked.
aiometer: Any = importlib.import_module("aiometer")
DISTRIBUTION = "aiometer"


def noop(jobs: int) -> dict[str, float]:
    """Measure `run_on_each`."""
    return asyncio.run(_run(jobs))


async def _run(jobs: int) -> dict[str, float]:
    payloads = list(range(jobs))
    started = time.process_time()
    await aiometer.run_on_each(handler, payloads, max_at_once=16)
    return {"seconds": time.process_time() - started}
