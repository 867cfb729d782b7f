"""Requests per second of the example web framework, next to the same endpoint in plain Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import shelf
from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, compete
from tests.benchmarks.table import Row, count

if TYPE_CHECKING:
    from collections.abc import Iterator

SITES = {"jockey": "examples.web_framework:app", "starlette": "tests.benchmarks.contenders.starlette_site:app"}


def rows(plan: Plan) -> Iterator[Row]:
    """Load both servers in turn; each has a process of its own, and so has each client."""
    path = shelf.folder("web", "uvicorn", "httptools", "starlette", install=plan.install)
    requests = plan.size(10_000, 100)
    contenders = {
        name: Contender("web_client:load", folder=path, site=site, requests=requests, connections=32)
        for name, site in SITES.items()
    }
    rounds = compete(plan, contenders)
    what = f"`GET /` of the example web framework, {count(requests)} requests, 32 connections, uvicorn"
    if set(SITES) - set(rounds.versions):
        missing = " and ".join(name for name in SITES if name not in rounds)
        yield Row(what, "", f"{missing}: not installed")
        return
    ours, theirs = (requests / rounds.median(name) for name in SITES)
    yield Row(
        what,
        f"{count(round(ours))} per second",
        f"Starlette: {count(round(theirs))} per second",
        # Of rates, not of seconds: more is better.
        f"{rounds.ratio('starlette', 'jockey'):.2f} x",
    )
