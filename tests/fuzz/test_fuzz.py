"""Programs drawn by lot, on a virtual clock and in a shuffled order, break no law of the executor."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from jockey.testing import Backend
from tests.fuzz.corpus import CORPUS
from tests.fuzz.laws import violations
from tests.fuzz.options import seeds
from tests.fuzz.program import Program, draw
from tests.fuzz.shrink import shrink

BACKENDS: list[Backend] = ["asyncio"] if find_spec("trio") is None else ["asyncio", "trio"]

pytestmark = [pytest.mark.ends, pytest.mark.parametrize("backend", BACKENDS)]


@pytest.mark.timeout(0)  # as many programs as were asked for; a hang is found on the virtual clock
def test_no_program_breaks_a_law(backend: Backend, request: pytest.FixtureRequest) -> None:
    for seed in seeds(request.config):
        program = draw(seed)
        if violations(program, backend, seed)[0]:
            again = f"run it again with: pytest tests/fuzz/test_fuzz.py --fuzz-seed={seed}"
            pytest.fail(f"seed {seed} on {backend}; {again}\n{_report(program, backend, seed)}", pytrace=False)


@pytest.mark.parametrize("name", CORPUS)
def test_program_that_once_broke_a_law_breaks_none_now(backend: Backend, name: str) -> None:
    for seed in range(20):
        if violations(CORPUS[name], backend, seed)[0]:
            pytest.fail(f"with the order of seed {seed}\n{_report(CORPUS[name], backend, seed)}", pytrace=False)


def test_same_seed_gives_the_same_history(backend: Backend) -> None:
    for seed in range(50):
        first = violations(draw(seed), backend, seed)[1]
        again = violations(draw(seed), backend, seed)[1]

        assert first.log == again.log


def _report(program: Program, backend: Backend, seed: int) -> str:
    smallest = shrink(program, lambda smaller: bool(violations(smaller, backend, seed)[0]))
    broken, world = violations(smallest, backend, seed)
    return "\n".join([
        "The smallest program that fails:",
        f"  {smallest}",
        "What happened:",
        *(f"  {line}" for line in world.log),
        "Broken laws:",
        *(f"  {law}" for law in broken),
    ])  # fmt: skip
