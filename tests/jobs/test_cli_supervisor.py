"""Several worker processes under one supervisor; here they are small programs that only tell what they get."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from jockey.jobs._cli import _lifeline, _supervisor
from jockey.jobs._cli._lifeline import outlive
from jockey.jobs._cli._supervisor import Supervisor, pause

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("seat_program.py")


@pytest.fixture
def anyio_backend() -> str:
    """Run where the command runs it."""
    return "asyncio"


class Stage:
    """
    A supervisor at work.

    Attributes:
        exit_code: As soon as it has ended.
    """

    def __init__(self, path: Path, press: MemoryObjectSendStream[signal.Signals]) -> None:
        os.mkfifo(path)
        # For writing as well, so that it never ends.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._lines: list[str] = []
        self._rest = b""
        self._press = press
        self.exit_code: int | None = None

    def press(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the supervisor a signal."""
        self._press.send_nowait(number)

    async def told(self, what: str) -> int:
        """Return the id of the process that tells this, and no other thing."""
        while not self._lines:
            await anyio.wait_readable(self._pipe)
            *lines, self._rest = (self._rest + os.read(self._pipe, 4096)).split(b"\n")
            self._lines += [line.decode() for line in lines]
        word, _, pid = self._lines.pop(0).rpartition(" ")
        assert word == what
        return int(pid)

    def close(self) -> None:
        os.close(self._pipe)


@asynccontextmanager
async def supervised(
    folder: Path, kind: str, count: int = 1, *, grace: float = 60, **options: Any
) -> AsyncGenerator[Stage]:
    """Run a supervisor, until it ends."""
    press, presses = anyio.create_memory_object_stream[signal.Signals](5)
    stage = Stage(folder / "told", press)
    command = [sys.executable, "-S", "-E", str(PROGRAM), str(folder / "told"), kind]
    supervisor = Supervisor(command, count, grace=grace, **options)

    @contextmanager
    def received(*_: signal.Signals) -> Iterator[MemoryObjectReceiveStream[signal.Signals]]:
        yield presses

    async def run() -> None:
        stage.exit_code = await supervisor.run()

    with pytest.MonkeyPatch.context() as patch, press, presses:
        patch.setattr(anyio, "open_signal_receiver", received)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                yield stage
        finally:
            stage.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_process_that_dies_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    async with supervised(tmp_path, "patient", 2) as stage:
        first, second = await stage.told("up"), await stage.told("up")
        os.kill(first, signal.SIGKILL)
        third = await stage.told("up")
        stage.press()
        asked = {await stage.told("asked"), await stage.told("asked")}

    assert asked == {second, third}
    assert stage.exit_code == 0
    assert not any(map(is_alive, (first, second, third)))


async def test_a_process_that_fails_is_replaced_later_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[int] = []
    monkeypatch.setattr(_supervisor, "pause", lambda count: failures.append(count) or 0.0)

    async with supervised(tmp_path, "failing") as stage:
        for _ in range(3):
            await stage.told("up")
        stage.press()

    assert failures[:2] == [1, 2]
    assert "a worker process ended with the exit code 3; another one starts in 0.0 seconds" in caplog.text


async def test_a_process_that_has_lived_for_long_is_replaced_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []
    monkeypatch.setattr(_supervisor, "_STEADY", 0.0)
    monkeypatch.setattr(_supervisor, "pause", lambda count: failures.append(count) or 0.0)

    async with supervised(tmp_path, "failing") as stage:
        for _ in range(3):
            await stage.told("up")
        stage.press()

    assert set(failures) == {1}


def test_pauses_are_doubled_up_to_half_a_minute() -> None:
    assert [pause(failures) for failures in (1, 2, 3, 6, 7, 8, 5_000)] == [0.5, 1, 2, 16, 30, 30, 30]


async def test_workers_that_have_nothing_left_to_do_are_not_replaced(tmp_path: Path) -> None:
    async with supervised(tmp_path, "done", 2, can_end=True) as stage:
        pids = {await stage.told("up"), await stage.told("up")}

    assert stage.exit_code == 0
    assert len(pids) == 2


async def test_a_worker_that_somebody_else_has_ended_is_replaced(tmp_path: Path) -> None:
    async with supervised(tmp_path, "patient") as stage:
        os.kill(await stage.told("up"), signal.SIGTERM)
        await stage.told("asked")
        await stage.told("up")
        stage.press()

    assert stage.exit_code == 0


async def test_the_second_signal_is_passed_on(tmp_path: Path) -> None:
    async with supervised(tmp_path, "slow", 2) as stage:
        pids = {await stage.told("up"), await stage.told("up")}
        stage.press(signal.SIGINT)
        assert {await stage.told("asked"), await stage.told("asked")} == pids
        stage.press(signal.SIGINT)
        assert {await stage.told("asked again"), await stage.told("asked again")} == pids

    assert stage.exit_code == 0


async def test_the_third_signal_kills(tmp_path: Path) -> None:
    async with supervised(tmp_path, "stubborn", 2) as stage:
        pids = await stage.told("up"), await stage.told("up")
        for _ in range(3):
            stage.press()

    assert stage.exit_code == 128 + signal.SIGTERM
    assert not any(map(is_alive, pids))


async def test_a_process_that_does_not_end_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_supervisor, "OVERTIME", 0.0)

    async with supervised(tmp_path, "stubborn", grace=0.01) as stage:
        pid = await stage.told("up")
        stage.press()

    assert stage.exit_code == 1
    assert f"the worker process {pid} does not end, and is killed" in caplog.text


async def test_signals_reach_those_that_run_when_others_wait_to_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = anyio.Event()
    monkeypatch.setattr(_supervisor, "pause", lambda _: paused.set() or 3_600.0)

    async with supervised(tmp_path, "slow", 2) as stage:
        os.kill(await stage.told("up"), signal.SIGKILL)
        await stage.told("up")
        await paused.wait()
        stage.press()
        await stage.told("asked")
        stage.press()
        await stage.told("asked again")

    assert stage.exit_code == 0


async def test_a_process_that_starts_while_all_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starting, may_go_on = anyio.Event(), anyio.Event()
    really = anyio.open_process

    async def slowly(*arguments: Any, **options: Any) -> Any:
        process = await really(*arguments, **options)
        starting.set()
        await may_go_on.wait()
        return process

    monkeypatch.setattr(anyio, "open_process", slowly)
    async with supervised(tmp_path, "patient") as stage:
        await starting.wait()
        stage.press()
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()

    assert stage.exit_code == 0


async def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really = anyio.open_process

    async def refused(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(anyio, "open_process", really)
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(anyio, "open_process", refused)
    monkeypatch.setattr(_supervisor, "pause", lambda _: 0.0)
    async with supervised(tmp_path, "patient") as stage:
        await stage.told("up")
        stage.press()

    assert stage.exit_code == 0
    assert "a worker process could not be started: too many processes; another one starts" in caplog.text


async def test_nothing_is_left_behind_when_the_supervisor_is_cancelled(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with supervised(tmp_path, "stubborn", 2) as stage:
            pids = await stage.told("up"), await stage.told("up")
            scope.cancel()

    assert not any(map(is_alive, pids))


# When files change


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryObjectSendStream[str]]:
    """Return where a test says which file has changed."""
    send, receive = anyio.create_memory_object_stream[str](5)

    async def awatch(*_: object, **__: object) -> AsyncIterator[set[tuple[int, str]]]:
        async for path in receive:
            yield {(1, path)}

    monkeypatch.setattr("watchfiles.awatch", awatch)
    with send, receive:
        yield send


async def test_workers_drain_and_start_again_when_a_file_changes(
    tmp_path: Path, changes: MemoryObjectSendStream[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with supervised(tmp_path, "patient", watched=tmp_path) as stage:
        before = await stage.told("up")
        changes.send_nowait("shop.py")
        await stage.told("asked")
        after = await stage.told("up")
        stage.press()

    assert before != after
    assert stage.exit_code == 0
    assert "changed: shop.py; the worker processes drain and start again" in caplog.text


async def test_while_a_worker_drains_another_change_does_not_hurry_it(
    tmp_path: Path, changes: MemoryObjectSendStream[str]
) -> None:
    async with supervised(tmp_path, "slow", watched=tmp_path) as stage:
        pid = await stage.told("up")
        changes.send_nowait("shop.py")
        await stage.told("asked")
        changes.send_nowait("shop.py")
        await anyio.wait_all_tasks_blocked()
        # Neither does the first signal; the second one does.
        stage.press()
        await anyio.wait_all_tasks_blocked()
        changes.send_nowait("shop.py")
        await anyio.wait_all_tasks_blocked()
        assert is_alive(pid)
        stage.press()
        await stage.told("asked again")

    assert stage.exit_code == 0


async def test_a_change_may_have_mended_what_fails(
    tmp_path: Path, changes: MemoryObjectSendStream[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = [anyio.Event(), anyio.Event()]
    monkeypatch.setattr(_supervisor, "pause", lambda failures: paused[failures - 1].set() or 3_600.0)

    async with supervised(tmp_path, "failing", watched=tmp_path) as stage:
        await stage.told("up")
        await paused[0].wait()
        await anyio.wait_all_tasks_blocked()
        changes.send_nowait("shop.py")
        await stage.told("up")
        await paused[1].wait()
        stage.press()

    assert stage.exit_code == 0


# Workers whose supervisor is gone


def test_a_worker_without_a_supervisor_ends_and_is_killed_if_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(_lifeline.os, "kill", lambda pid, number: done.append((pid == os.getpid(), number)))
    monkeypatch.setattr(_lifeline.time, "sleep", done.append)
    lifeline, supervisor = os.pipe()
    os.close(supervisor)

    outlive(lifeline, 35.0)

    os.close(lifeline)
    assert done == [(True, signal.SIGTERM), 35.0, (True, signal.SIGKILL)]
