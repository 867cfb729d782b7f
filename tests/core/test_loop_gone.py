"""An event loop that is closed in the middle of everything: no callback can be awaited, but nothing breaks further."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import anyio
import pytest

from jockey import ExecutorClosedError, RunningExecutor
from jockey.testing import Recorder
from tests.core.story import executor_of, wait_all_tasks_blocked


@pytest.mark.parametrize("where", ["get_payload", "on_success"])
def test_a_loop_that_is_closed_while_a_job_runs_calls_no_callback_and_refuses_messages(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(payload: object) -> object:
        return payload

    message = Recorder("job", faults={where: anyio.Event()})  # type: ignore[dict-item]
    left: list[RunningExecutor[Any, Any, Any]] = []

    async def main() -> None:
        async with executor_of(echo, blocked_after=None).run() as running:
            left.append(running)
            running.schedule(message)
            await anyio.sleep_forever()

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_until_complete(wait_all_tasks_blocked())
    coroutines = [each.get_coro() for each in asyncio.all_tasks(loop)]
    loop.close()
    with pytest.raises(ExecutorClosedError):
        left[0].schedule_threadsafe(Recorder("job"))
    for coroutine in coroutines:
        with contextlib.suppress(RuntimeError):  # task groups wait for their tasks, come what may
            coroutine.close()  # type: ignore[union-attr]
    left.clear()
    del task, loop, coroutines, coroutine
    gc.collect()

    assert message.completed == []
    assert message.calls == ([] if where == "get_payload" else ["success"])
    assert {record.name for record in caplog.records} <= {"asyncio"}
