"""The same maps with joblib: processes with automatic batching, and with memory mapping for arrays."""

from __future__ import annotations

import importlib
import time
from typing import Any

from tests.benchmarks.contenders.loads import increment, load

# Imported by name, because it may be absent where types are checked.
joblib: Any = importlib.import_module("joblib")
DISTRIBUTION = "joblib"


def warm(name: str, count: int, workers: int) -> dict[str, float]:
    """Measure a pool that runs already."""
    function, items = load(name, count)
    with joblib.Parallel(n_jobs=workers) as parallel:
        parallel(joblib.delayed(increment)(number) for number in range(100 * workers))
        started = time.perf_counter()
        parallel(joblib.delayed(function)(item) for item in items)
        return {"seconds": time.perf_counter() - started}
