"""The jockey that the name had on PyPI before, with the same messages and the same handler."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.contenders.handlers import noop as handler
from tests.benchmarks.contenders.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

# Another package of the same name: what is known about the types of ours does not hold.
jockey: Any = importlib.import_module("jockey")
if not hasattr(jockey, "_actor"):
    raise ModuleNotFoundError(f"jockey 1.0.0 is wanted, {jockey.__file__} is another one", name="jockey")


def noop(jobs: int) -> dict[str, float]:
    """Measure plain jobs of one handler."""
    registry = jockey.Registry()
    registry.add("noop")(handler)
    return asyncio.run(_run(registry, [Message("noop", number) for number in range(jobs)]))


async def _run(registry: Any, messages: Sequence[Message]) -> dict[str, float]:
    started = time.process_time()
    async with jockey.Executor(registry, max_jobs=16).run() as running:
        for message in messages:
            await running.execute(message, wait_for=jockey.WaitFor.NOTHING)
    return {"seconds": time.process_time() - started}
