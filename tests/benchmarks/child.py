"""
The process of one contender: `child.py MODULE:FUNCTION OPTIONS`, then one round for each line of standard input.

A line says for how many seconds the process is to keep its processor busy before the round: one that was idle while the
others had their turn takes some time to get up to its speed, which would count most for whoever needs least.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from importlib import metadata


def main() -> None:
    """Import the contender, tell whether that worked, measure as often as asked."""
    function, options = sys.argv[1:]
    # What contenders print must not get between our answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module_name, name = function.split(":")
    try:
        module = importlib.import_module(f"tests.benchmarks.contenders.{module_name}")
    except ModuleNotFoundError as exc:
        answers.write(json.dumps({"missing": exc.name}) + "\n")
        return
    answers.write(json.dumps({"version": _version(module)}) + "\n")
    for line in sys.stdin:
        _warm_up(float(line))
        # The collector stays on, as users have it; all start their rounds without garbage.
        gc.collect()
        answers.write(json.dumps(getattr(module, name)(**json.loads(options))) + "\n")


def _warm_up(seconds: float) -> None:
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        pass


def _version(module: object) -> str:
    distribution = getattr(module, "DISTRIBUTION", None)
    return metadata.version(distribution) if distribution else ""


if __name__ == "__main__":
    main()
