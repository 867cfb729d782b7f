"""A program that does nothing but wake up now and then: what that costs here, whoever does it."""

from __future__ import annotations

import time


def up(seconds: float, pause: float) -> dict[str, float]:
    """Measure how much of a core it uses."""
    wakes = round(seconds / pause)
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(wakes):
        time.sleep(pause)
    return {"share": (time.process_time() - cpu) / (time.perf_counter() - started)}
