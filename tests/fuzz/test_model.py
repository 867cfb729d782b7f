"""Whatever is done to an executor, in whatever order, it is in the state that a simple model of it is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import anyio
import anyio.abc
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import jockey
from jockey import JobState, Priority, WaitFor
from jockey.testing import Backend, Recorder, run, settle
from tests.fuzz.broken import BY_MODEL
from tests.fuzz.model import CAPS, KEYS, TIMEOUT, Model, Snapshot

BACKENDS: list[Backend] = ["asyncio"] if find_spec("trio") is None else ["asyncio", "trio"]

_CALLS = {
    JobState.QUEUED: [],
    JobState.RUNNING: [],
    JobState.SUCCEEDED: ["success"],
    JobState.FAILED: ["failure"],
    JobState.CANCELLED: ["cancel"],
    JobState.NO_HANDLER: ["no_handler"],
}


@dataclass
class Stage:
    """The real executor, and those who use it."""

    model: Model
    tasks: anyio.abc.TaskGroup
    messages: list[Message] = field(default_factory=list)
    handles: dict[int, jockey.JobHandle[Any]] = field(default_factory=dict)
    waiters: dict[int, anyio.CancelScope] = field(default_factory=dict)
    drains: int = 0
    is_over: bool = False

    running: jockey.RunningExecutor[Message, str, Any] = field(init=False)
    body: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def run(self) -> None:
        executor = jockey.Executor(
            _registry(),
            max_jobs=self.model.max_jobs,
            max_jobs_per_group=self.model.max_jobs_per_group,
            blocked_after=None,
        )
        with self.body:
            async with executor.run() as self.running:
                await anyio.sleep_forever()
        self.is_over = True

    async def execute(self, message: Message, priority: Priority, wait_for: WaitFor) -> None:
        with anyio.CancelScope() as self.waiters[message.number]:
            self.handles[message.number] = await self.running.execute(message, priority=priority, wait_for=wait_for)
        del self.waiters[message.number]

    async def drain(self) -> None:
        self.drains += 1
        await self.running.drain()
        self.drains -= 1


class Message(Recorder["Message", str, Any]):
    """A message whose handler goes on when it is told to."""

    def __init__(self, number: int, key: str, group: str | None) -> None:
        super().__init__(key, self, group=group)
        self.number = number
        self.told = anyio.Event()
        self.error: Exception | None = None
        self.is_running = False


async def _wait_to_be_told(message: Message) -> None:
    message.is_running = True
    try:
        await message.told.wait()
    finally:
        message.is_running = False
    if message.error is not None:
        raise message.error


def _registry() -> jockey.Registry[Message, str, Any]:
    registry = jockey.Registry[Message, str, Any]()
    limit = jockey.Limit("limit", 1)
    for key in KEYS[:-1]:
        registry.add(
            key,
            max_jobs=1 if CAPS.get(key) == key else None,
            job_timeout=TIMEOUT if key == "slow" else None,
            limits=[limit] if CAPS.get(key) == "limit" else [],
        )(_wait_to_be_told)
    return registry


_KEYS = st.sampled_from((*KEYS, "plain", "plain"))
_PRIORITIES = st.sampled_from(Priority)
_GROUPS = st.sampled_from((None, None, None, "x", "y"))
_STAGES = st.sampled_from((None, None, None, None, *WaitFor))

_ENOUGH = 12
"""As many jobs there should be before the executor is closed: else most histories would be short ones."""

Act = Callable[[Stage], Awaitable[None]]


class ExecutorMachine(RuleBasedStateMachine):
    """
    Draw a history from the model, and act it out on a real executor, on each backend.

    The model alone tells what can be done next, so the whole history can be drawn first. That way nothing of the
    executor lives between the rules, and no thread is needed to keep it alive.
    """

    backends = BACKENDS

    def __init__(self) -> None:
        super().__init__()
        self.history: list[tuple[Act, Snapshot]] = []

    @initialize(max_jobs=st.integers(1, 3), max_jobs_per_group=st.integers(1, 2))
    def begin(self, max_jobs: int, max_jobs_per_group: int) -> None:
        self.model = Model(max_jobs, max_jobs_per_group)

    @precondition(lambda self: not self.model.is_over)
    @rule(jobs=st.lists(st.tuples(_KEYS, _PRIORITIES, _GROUPS, _STAGES), min_size=1, max_size=6))
    def accept_some(self, jobs: list[tuple[str, Priority, str | None, WaitFor | None]]) -> None:
        for job in jobs:
            self.accept(*job)

    def accept(self, key: str, priority: Priority, group: str | None, wait_for: WaitFor | None) -> None:
        number = len(self.model.jobs)
        self.model.accept(key, priority, group, wait_for)
        self._note(partial(_accept, number=number, key=key, priority=priority, group=group, wait_for=wait_for))

    @precondition(lambda self: self.model.of_state(JobState.RUNNING))
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        number = data.draw(st.sampled_from([job.number for job in self.model.of_state(JobState.RUNNING)]))
        self.model.end(number, JobState.FAILED if fails else JobState.SUCCEEDED)
        self._note(partial(_finish, number=number, fails=fails))

    @precondition(lambda self: len(self.model.jobs) > len(self.model.waiting()) and not self.model.is_over)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        # Who waits in `execute` has no handle yet.
        numbers = [job.number for job in self.model.jobs if job.wait_for is None]
        number = data.draw(st.sampled_from(numbers))
        can_be_cancelled = self.model.jobs[number].state in {JobState.QUEUED, JobState.RUNNING}
        if can_be_cancelled:
            self.model.end(number, JobState.CANCELLED)
        self._note(partial(_cancel, number=number, is_possible=can_be_cancelled))

    @precondition(lambda self: self.model.waiting())
    @rule(data=st.data())
    def cancel_waiter(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.model.waiting()))
        self.model.cancel_waiter(number)
        self._note(partial(_cancel_waiter, number=number))

    @rule(seconds=st.sampled_from((0.5, 2.0, TIMEOUT)))
    def advance(self, seconds: float) -> None:
        # An eighth more, so that nothing is due at the same time as the end of a step.
        self.model.advance(seconds + 0.125)
        self._note(partial(_advance, seconds=seconds + 0.125))

    @precondition(lambda self: not self.model.is_over)
    @rule()
    def pause(self) -> None:
        self.model.pause()
        self._note(_pause)

    @precondition(lambda self: self.model.is_paused and not self.model.is_over)
    @rule()
    def resume(self) -> None:
        self.model.resume()
        self._note(_resume)

    @precondition(lambda self: not self.model.is_over)
    @rule()
    def drain(self) -> None:
        self.model.drain()
        self._note(_drain)

    @precondition(lambda self: not self.model.is_over and len(self.model.jobs) > _ENOUGH)
    @rule(timeout=st.sampled_from((0.0, 1.0, 3.0)))
    def close(self, timeout: float) -> None:
        self.model.close(timeout)
        self._note(partial(_close, timeout=timeout))

    @precondition(lambda self: not self.model.is_over and len(self.model.jobs) > _ENOUGH)
    @rule()
    def abort(self) -> None:
        self.model.abort()
        self._note(_abort)

    def _note(self, act: Act) -> None:
        self.history.append((act, self.model.snapshot()))

    def teardown(self) -> None:
        if self.history:
            for backend in self.backends:
                run(self._act_out, backend=backend, seed=len(self.history), limit=1_000)

    async def _act_out(self) -> None:
        async with anyio.create_task_group() as tasks:
            stage = Stage(self.model, tasks)
            tasks.start_soon(stage.run)
            await settle()
            for act, snapshot in self.history:
                await act(stage)
                await settle()
                _compare(stage, snapshot)
            tasks.cancel_scope.cancel()


async def _accept(
    stage: Stage, *, number: int, key: str, priority: Priority, group: str | None, wait_for: WaitFor | None
) -> None:
    message = Message(number, key, group)
    stage.messages.append(message)
    if wait_for is None:
        stage.handles[number] = stage.running.schedule(message, priority=priority)
    else:
        stage.tasks.start_soon(stage.execute, message, priority, wait_for)


async def _finish(stage: Stage, *, number: int, fails: bool) -> None:
    message = stage.messages[number]
    message.error = LookupError() if fails else None
    message.told.set()


async def _cancel(stage: Stage, *, number: int, is_possible: bool) -> None:
    if number in stage.handles:  # not if the code that waited for it has been cancelled
        assert stage.handles[number].cancel() is is_possible


async def _cancel_waiter(stage: Stage, *, number: int) -> None:
    stage.waiters[number].cancel()


async def _advance(stage: Stage, *, seconds: float) -> None:
    await anyio.sleep(seconds)


async def _pause(stage: Stage) -> None:
    stage.running.pause()


async def _resume(stage: Stage) -> None:
    stage.running.resume()


async def _drain(stage: Stage) -> None:
    stage.tasks.start_soon(stage.drain)


async def _close(stage: Stage, *, timeout: float) -> None:
    stage.tasks.start_soon(stage.running.drain, timeout)


async def _abort(stage: Stage) -> None:
    stage.body.cancel()


def _compare(stage: Stage, snapshot: Snapshot) -> None:
    for message, state in zip(stage.messages, snapshot.states, strict=True):
        assert message.calls == _CALLS[state], f"job {message.number} is {state} in the model"
        assert message.is_running == (state is JobState.RUNNING), f"job {message.number} is {state} in the model"
    for number, handle in stage.handles.items():
        assert handle.state is snapshot.states[number]
    assert sorted(stage.waiters) == list(snapshot.waiting)
    assert stage.drains == snapshot.drains
    assert stage.is_over == snapshot.is_over
    _compare_statistics(stage, snapshot)


def _compare_statistics(stage: Stage, snapshot: Snapshot) -> None:
    statistics, counts = stage.running.statistics(), Counter(snapshot.states)
    jobs = list(zip(stage.model.jobs, snapshot.states, strict=False))
    queued = Counter(job.priority for job, state in jobs if state is JobState.QUEUED)
    assert dict(statistics.queued) == {priority: queued[priority] for priority in Priority}
    assert dict(statistics.queued_by_key) == Counter(job.key for job, state in jobs if state is JobState.QUEUED)
    assert dict(statistics.running_by_key) == Counter(job.key for job, state in jobs if state is JobState.RUNNING)
    assert statistics.running == counts[JobState.RUNNING]
    assert (statistics.succeeded, statistics.failed) == (counts[JobState.SUCCEEDED], counts[JobState.FAILED])
    assert (statistics.cancelled, statistics.no_handler) == (counts[JobState.CANCELLED], counts[JobState.NO_HANDLER])
    assert statistics.callback_errors == 0


class QuickMachine(ExecutorMachine):
    backends = BACKENDS[:1]


TestExecutorAgainstModel = ExecutorMachine.TestCase
TestExecutorAgainstModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")  # an executor that is broken may leave anything behind
@pytest.mark.parametrize("name", BY_MODEL)
def test_broken_executor_differs_from_the_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BY_MODEL[name](monkeypatch)
    quick = settings(
        max_examples=200,
        stateful_step_count=30,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        derandomize=True,
    )

    with pytest.raises((AssertionError, jockey.JockeyError, ExceptionGroup)):
        run_state_machine_as_test(QuickMachine, settings=quick)
