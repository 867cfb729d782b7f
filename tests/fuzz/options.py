"""The options of the fuzzer; `tests/conftest.py` hands them to pytest."""

from __future__ import annotations

import pytest

PROGRAMS = 1_000
"""How many programs the ordinary suite runs on each backend."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz", "schedule fuzzer")
    group.addoption("--fuzz-programs", type=int, default=PROGRAMS, help="how many programs to run on each backend")
    group.addoption("--fuzz-seed", type=int, default=None, help="the one program to run, as a failure names it")


def seeds(config: pytest.Config) -> range:
    """Return the seeds of the programs to run."""
    seed: int | None = config.getoption("--fuzz-seed", default=None)
    return range(config.getoption("--fuzz-programs", default=PROGRAMS)) if seed is None else range(seed, seed + 1)
