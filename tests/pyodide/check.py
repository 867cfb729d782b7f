"""Run by run.mjs, inside Pyodide: jobs of all kinds run, and those that cannot run elsewhere run in the loop."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jockey

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

own_pid = os.getpid()
main_module = sys.modules["__main__"]
registry: jockey.Registry[int, jockey.ExecuteIn, int] = jockey.Registry()


@dataclass
class Message(jockey.Adapter[int, jockey.ExecuteIn, int]):
    key: jockey.ExecuteIn
    payload: int
    calls: list[object] = field(default_factory=list)

    def get_keys(self) -> Iterable[jockey.ExecuteIn]:
        return [self.key]

    async def get_payload(self) -> int:
        return self.payload

    async def on_success(self, result: int, /) -> None:
        self.calls.append(result)

    async def on_failure(self, exc: Exception, /) -> None:
        self.calls.append(exc)

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        self.calls.append(exc)


# Whether the warning comes when a handler is registered or when it is run is not promised.
with warnings.catch_warnings(record=True) as told_at_first:
    warnings.simplefilter("always")

    @registry.add(jockey.ExecuteIn.MAIN)
    async def _main(payload: int) -> int:
        return payload + 1

    @registry.add(jockey.ExecuteIn.THREAD, execute_in=jockey.ExecuteIn.THREAD)
    def _thread(payload: int) -> int:
        assert threading.current_thread() is threading.main_thread()
        return payload + 10

    @registry.add(jockey.ExecuteIn.PROCESS, execute_in=jockey.ExecuteIn.PROCESS)
    def _process(payload: int) -> int:
        assert os.getpid() == own_pid
        return payload + 100

    @registry.add(jockey.ExecuteIn.INTERPRETER, execute_in=jockey.ExecuteIn.INTERPRETER)
    def _interpreter(payload: int) -> int:
        assert sys.modules["__main__"] is main_module
        return payload + 10_000


async def double(number: int) -> int:
    return 2 * number


async def main() -> None:
    messages = [Message(key, payload) for payload in (0, 1000) for key in jockey.ExecuteIn]

    with warnings.catch_warnings(record=True) as told_later:
        warnings.simplefilter("always")
        async with jockey.Executor(registry).run() as executor:
            for message in messages:
                executor.schedule(message)

    calls = [message.calls for message in messages]
    assert calls == [[1], [10], [100], [10_000], [1001], [1010], [1100], [11_000]], calls
    assert [result async for result in jockey.amap(double, range(3))] == [0, 2, 4]
    told = [*told_at_first, *told_later]
    assert [warning.category for warning in told] == [RuntimeWarning], [str(warning) for warning in told]
    print(f"Python {sys.version.split()[0]} on {sys.platform}: {len(messages)} jobs, one warning: {told[0].message}")
