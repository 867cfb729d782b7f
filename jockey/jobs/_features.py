"""What a broker cannot do is refused where a job asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jockey._options import Priority
from jockey.jobs._errors import UnsupportedError

if TYPE_CHECKING:
    from jockey.jobs._broker import Features
    from jockey.jobs._message import Step


def check_features(step: Step, features: Features, *, has_store: bool) -> None:
    """Raise `UnsupportedError` if *step*, or what follows it, needs what a broker or the lack of a store denies."""
    options = step.options
    if not features.delays and (options.get("delay") or options.get("at")):
        raise _unsupported(step, "start jobs later; leave out delay= and at=")
    if not features.priorities and options.get("priority", Priority.NORMAL) != Priority.NORMAL:
        raise _unsupported(step, "let jobs overtake others; leave out priority=")
    if not features.uniqueness and (options.get("id") or options.get("unique")):
        raise _unsupported(step, "find duplicates; leave out id= and unique=, or give the app a store: results=")
    if not features.groups and options.get("group"):
        raise _unsupported(step, "keep the jobs of a group in order; leave out group=")
    if step.join and not has_store:
        raise _unsupported(step, "bring the results of a group together; give the app a store: results=")
    for following in (*step.on_success, *step.on_failure, *((step.join.then,) if step.join else ())):
        check_features(following, features, has_store=has_store)


def _unsupported(step: Step, what: str) -> UnsupportedError:
    return UnsupportedError(f"a job of {step.name!r} was refused: its broker cannot {what}")
