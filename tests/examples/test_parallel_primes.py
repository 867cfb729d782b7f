"""examples/parallel_primes.py counts right, and uses processes to do so."""

from __future__ import annotations

import pytest

from tests.examples.program import output


@pytest.mark.parametrize(
    ("limit", "primes"),
    [
        pytest.param(2, 0, id="nothing to find"),
        pytest.param(10_000, 1_229, id="one part"),
        pytest.param(100_000, 9_592, id="several parts"),
    ],
)
def test_counts_the_primes(limit: int, primes: int) -> None:
    assert output("examples/parallel_primes.py", str(limit)) == [f"{primes} primes below {limit}"]


def test_has_a_limit_of_its_own() -> None:
    assert output("examples/parallel_primes.py") == ["41538 primes below 500000"]
