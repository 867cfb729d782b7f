"""`KeyboardInterrupt` and `SystemExit`: all jobs are cancelled in good order, then `run()` raises it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import (
    Cancelled,
    Executor,
    ExecutorClosedError,
    Failure,
    HandlerCrashedError,
    JobHandle,
    Middleware,
    Registry,
    RunningExecutor,
    WaitFor,
)
from jockey.testing import Recorder
from tests.core.outside import start_program
from tests.core.story import executor_of, wait_all_tasks_blocked, wait_forever

pytestmark = pytest.mark.anyio

Interrupt = KeyboardInterrupt | SystemExit

interrupts = pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3)], ids=["KeyboardInterrupt", "SystemExit"]
)


class Errors(list[tuple[BaseException, JobHandle[Any]]]):
    """An `on_error` that keeps what it is told."""

    def __call__(self, error: BaseException, handle: JobHandle[Any]) -> None:
        self.append((error, handle))


class World:
    """An executor with room for one that waits forever, one that is queued behind it, and one that interrupts."""

    def __init__(self) -> None:
        self.error: BaseException = KeyboardInterrupt()
        self.errors = Errors()
        self.running_one, self.queued_one = Slow("forever"), Slow("forever")
        registry: Registry[Any, str, None] = Registry()
        registry.add("forever", max_jobs=1)(self._wait_forever)
        registry.add("nothing")(self._do_nothing)
        registry.add("raises")(self._raise)
        registry.add("pulse", pulse_every=0.001)(self._wait_forever)
        self.executor = Executor(registry, on_error=self.errors)

    async def begin(self, running: RunningExecutor[Any, str, None]) -> None:
        await running.execute(self.running_one, wait_for=WaitFor.START)
        running.schedule(self.queued_one)

    async def _wait_forever(self, _: object) -> None:
        await anyio.sleep_forever()

    async def _do_nothing(self, _: object) -> None:
        pass

    async def _raise(self, payload: object) -> None:
        if payload == "later":
            await checkpoint()
        raise self.error


class Slow(Recorder[None, str, None]):
    """Takes its time to be cancelled."""

    async def on_cancel(self, exc: Any, /) -> None:
        await wait_all_tasks_blocked()
        await super().on_cancel(exc)


async def interrupted(world: World, message: Recorder[Any, str, Any]) -> BaseException:
    """Return what `run()` raises, when all that it has to do before was done."""
    with pytest.raises(BaseException) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            running.schedule(message)
            await anyio.sleep_forever()

    assert world.running_one.completed == world.queued_one.completed == ["cancel"]
    with pytest.raises(ExecutorClosedError):
        running.schedule(Recorder("nothing"))
    return caught.value


@interrupts
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_in_a_handler_it_fails_that_job_cancels_all_others_and_leaves_run(error: Interrupt, when: str) -> None:
    world, message = World(), Recorder("raises", when)
    world.error = error

    assert await interrupted(world, message) is error

    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, HandlerCrashedError)
    assert message.outcome.error.__cause__ is error
    assert isinstance(world.running_one.outcome, Cancelled)
    assert world.running_one.outcome.error.reason == f"the executor was stopped by {error!r}"
    assert isinstance(world.queued_one.outcome, Cancelled)
    assert world.queued_one.outcome.error.reason == f"the executor was stopped by {error!r}"


@interrupts
@pytest.mark.parametrize("place", ["get_keys", "get_group", "get_payload"])
async def test_in_what_comes_before_the_handler_it_does_the_same(error: Interrupt, place: Any) -> None:
    world, message = World(), Recorder("nothing", faults={place: error})

    assert await interrupted(world, message) is error

    assert message.completed == ["failure"]


@interrupts
@pytest.mark.parametrize("callback", ["on_success", "on_failure", "on_no_handler"])
async def test_in_a_callback_it_does_the_same_and_is_told_to_on_error(error: Interrupt, callback: Any) -> None:
    keys = {"on_success": "nothing", "on_failure": "raises", "on_no_handler": "unknown"}
    world, message = World(), Recorder(keys[callback], faults={callback: error})
    world.error = ValueError()

    assert await interrupted(world, message) is error

    assert message.calls == [callback.removeprefix("on_")]
    ((told, _),) = world.errors
    assert isinstance(told, HandlerCrashedError)
    assert told.__cause__ is error


@interrupts
async def test_in_on_cancel_of_a_single_job_it_does_the_same(error: Interrupt) -> None:
    world, message = World(), Recorder("forever", faults={"on_cancel": error})

    with pytest.raises(type(error)) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            running.schedule(message).cancel()
            await anyio.sleep_forever()

    assert caught.value is error
    assert world.running_one.completed == world.queued_one.completed == ["cancel"]


@interrupts
async def test_in_on_cancel_it_keeps_no_other_job_from_its_own(error: Interrupt) -> None:
    messages = [Recorder("job", faults={"on_cancel": error}), *(Recorder("job") for _ in range(3))]

    with pytest.raises(type(error)) as caught:
        async with executor_of(wait_forever, max_jobs=2).run() as running:
            for message in messages:
                running.schedule(message)
            await wait_all_tasks_blocked()
            raise LookupError

    assert caught.value is error
    assert [message.calls for message in messages] == [["cancel"]] * 4


@interrupts
async def test_in_middleware_it_does_the_same(error: Interrupt) -> None:
    class Interrupting(Middleware[Any, Any, Any]):
        async def on_success(self, result: Any, /) -> None:
            raise error

    with pytest.raises(type(error)) as caught:
        async with executor_of(lambda payload: payload, middleware=[Interrupting]).run() as running:
            running.schedule(Recorder("job"))

    assert caught.value is error


@interrupts
async def test_in_a_pulse_it_cancels_that_job_too(error: Interrupt) -> None:
    world, message = World(), Recorder("pulse", faults={"on_pulse": error})

    assert await interrupted(world, message) is error

    assert message.calls == ["pulse", "cancel"]
    assert isinstance(message.outcome, Cancelled)


@interrupts
async def test_in_the_body_it_cancels_all_jobs_first(error: Interrupt) -> None:
    world = World()

    with pytest.raises(type(error)) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            raise error

    assert caught.value is error
    assert world.running_one.completed == world.queued_one.completed == ["cancel"]
    assert isinstance(world.running_one.outcome, Cancelled)
    assert world.running_one.outcome.error.reason == f"the code in the block of run() raised {error!r}"


@interrupts
async def test_it_comes_out_while_the_body_waits_for_that_very_job(error: Interrupt) -> None:
    world, message = World(), Recorder("raises")
    world.error = error

    with pytest.raises(type(error)) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            await running.execute(message)

    assert caught.value is error
    assert world.running_one.completed == world.queued_one.completed == ["cancel"]


@interrupts
async def test_it_comes_out_while_the_block_is_being_left(error: Interrupt) -> None:
    world, message = World(), Recorder("raises")
    world.error = error

    with pytest.raises(type(error)) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            running.schedule(message)

    assert caught.value is error
    assert message.completed == ["failure"]
    assert world.running_one.completed == world.queued_one.completed == ["cancel"]


async def test_the_first_of_two_comes_out() -> None:
    world, first, second = World(), KeyboardInterrupt("first"), SystemExit("second")

    with pytest.raises(BaseException) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            running.schedule(Recorder("nothing", faults={"on_success": first}))
            running.schedule(Recorder("nothing", faults={"on_success": second}))
            await anyio.sleep_forever()

    assert caught.value is first
    assert world.running_one.completed == world.queued_one.completed == ["cancel"]


async def test_one_that_comes_while_the_executor_stops_does_not_come_out() -> None:
    world, first, second = World(), SystemExit("first"), SystemExit("second")
    world.error = first
    world.running_one = Slow("forever", faults={"on_cancel": second})

    with pytest.raises(SystemExit) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            await running.execute(Recorder("raises"))

    assert caught.value is first
    assert world.running_one.calls == world.queued_one.completed == ["cancel"]


async def test_it_wins_over_an_error_of_the_body() -> None:
    world, error = World(), KeyboardInterrupt()
    world.error = error

    with pytest.raises(BaseException) as caught:
        async with world.executor.run() as running:
            await world.begin(running)
            try:
                await running.execute(Recorder("raises"))
            finally:
                raise ValueError("in the middle of all this")

    assert caught.value is error


# A signal, from outside

# asyncio.run() hears of Ctrl-C between two steps of Python. If it comes just before the loop goes to sleep, that sleeps
# on, unless signals wake it; which they do once it has a handler for any of them. trio sees to that by itself.
PROGRAM = """
import signal, sys
import anyio, asyncio
from jockey import Adapter, ExecuteIn, Executor, Registry, WaitFor

class Message(Adapter):
    def __init__(self, number): self.number = number
    def get_keys(self): return ["forever"]
    async def get_payload(self): return self.number
    async def on_success(self, result): print("success", self.number)
    async def on_failure(self, exc): print("failure", self.number, repr(exc))
    async def on_cancel(self, exc):
        await anyio.sleep(0.01)
        print("cancelled", self.number)

registry = Registry()

@registry.add("forever")
async def forever(_): await {forever}

async def awake(main):
    if hasattr(signal, "SIGUSR1"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
    await main()

async def main():
    # On a busy machine any step may take long, which would be a warning.
    async with Executor(registry, max_jobs=3, blocked_after=None).run() as running:
        for number in range(3):
            await running.execute(Message(number), wait_for=WaitFor.START)
        for number in range(3, 6):
            running.schedule(Message(number))
        {body}

try:
    {run}
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(42)
"""

RUNNERS = {
    "asyncio": "asyncio.run(awake(main))",
    "trio": "import trio; trio.run(main)",
}


def program_of(forever: str, body: str, run: str) -> str:
    return PROGRAM.replace("{forever}", forever).replace("{body}", body).replace("{run}", run)


READY = 'print("ready", flush=True)'

BODIES = {
    "the body sleeps": ("anyio.sleep_forever()", f"{READY}; await anyio.sleep_forever()"),
    "the block is being left": ("tell_who_leaves()", "leaving.append(True)"),
    "the body waits for all": ("anyio.sleep_forever()", f"{READY}; await running.drain()"),
    "handlers keep the loop busy": ("busy()", f"{READY}; await anyio.sleep_forever()"),
}

# It has its turn when the body waits in `__aexit__`: between the two, trio raises where nobody can know of it.
BUSY = """
leaving = []

async def tell_who_leaves():
    while not leaving:
        await anyio.sleep(0)
    if leaving[0]:
        leaving[0] = False
        print("ready", flush=True)
    await anyio.sleep_forever()

async def busy():
    while True:
        await anyio.sleep(0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT can be sent to one process only on POSIX")
@pytest.mark.parametrize("run", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("where", BODIES)
def test_after_ctrl_c_every_on_cancel_has_returned_before_the_program_ends(
    tmp_path: Path, run: str, where: str
) -> None:
    forever, body = BODIES[where]

    with start_program(tmp_path, BUSY + program_of(forever, body, run)) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate()

    assert (sorted(out.splitlines()), err) == ([*(f"cancelled {number}" for number in range(6)), "interrupted"], "")
    assert program.returncode == 42


MOMENTS = {
    "a handler": """
async def forever_from_now_on():
    while True:
        await anyio.sleep(0)
        if armed:
            armed.clear()
            signal.raise_signal(signal.SIGINT)
""",
    "the executor itself": """
from jockey._engine import Engine

on_step = Engine.on_step

def interrupted_on_step(*arguments):
    if armed:
        armed.clear()
        signal.raise_signal(signal.SIGINT)
    on_step(*arguments)

Engine.on_step = interrupted_on_step

async def forever_from_now_on():
    while True:
        await anyio.sleep(0)
""",
}


@pytest.mark.parametrize("run", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_in_the_middle_of_something_is_for_the_body_and_harms_no_job(
    tmp_path: Path, run: str, moment: str
) -> None:
    body = "armed.append(True); await anyio.sleep_forever()"
    text = program_of("forever_from_now_on()", body, run)

    with start_program(tmp_path, f"import signal\narmed = []\n{MOMENTS[moment]}{text}") as program:
        out, err = program.communicate()

    ends = [*(f"cancelled {number}" for number in range(6)), "interrupted"]
    assert (sorted(out.splitlines()), err) == (ends, "")
    assert program.returncode == 42
