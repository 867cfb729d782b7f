"""Each law can fail: an executor that is broken on purpose breaks it, and the fuzzer notices."""

from __future__ import annotations

import re
import warnings

import pytest

from tests.fuzz.broken import BY_LAW
from tests.fuzz.laws import violations
from tests.fuzz.program import draw

TRIES = 1_500


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")  # an executor that is broken may leave anything behind
@pytest.mark.parametrize("name", BY_LAW)
def test_broken_executor_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BY_LAW[name]
    broken.change(monkeypatch)

    assert any(_is_caught(seed, broken.law) for seed in range(TRIES)), f"no program noticed an executor that {name}"


def _is_caught(seed: int, law: str) -> bool:
    with warnings.catch_warnings():
        return any(re.search(law, violation) for violation in violations(draw(seed), "asyncio", seed)[0])
