"""
Count primes on all cores: a script without messages, only a function and what to call it with.

Shows `jockey.map`: worker processes, results as soon as they are there, and a progress bar.

    pip install 'jockey[progress]'
    python examples/parallel_primes.py
    python examples/parallel_primes.py 5000000
"""

import math
import sys

import jockey


def count_primes(numbers: range) -> int:
    """Count the primes among *numbers*; runs in a worker process, one per core."""
    return sum(map(is_prime, numbers))


def is_prime(number: int) -> bool:
    """Tell whether *number* is a prime, by trying all divisors up to its square root."""
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def main(limit: int) -> None:
    """Print how many primes there are below *limit*."""
    # Many parts for each core: a core that is done early takes another one.
    parts = [range(limit)[start : start + 10_000] for start in range(0, limit, 10_000)]
    total = sum(jockey.map(count_primes, parts, ordered=False, progress=True))
    print(f"{total} primes below {limit}")


# The worker processes import this file too, and must not start it all over again.
if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
