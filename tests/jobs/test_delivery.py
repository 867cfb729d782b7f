"""From a delivery to its one settlement, whatever the broker, the message or the task is like."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import msgspec
import pytest

from jockey.jobs import (
    BrokerUnavailableError,
    Failure,
    Job,
    JobFailedError,
    LeaseLostError,
    Message,
    QueueNotDeclaredError,
    Retry,
    State,
    Trouble,
    UnsupportedError,
    Worker,
    WorkerCounts,
    group,
)
from jockey.jobs._broker import Cancelled, Died, Hearing, Released
from jockey.jobs._message import Step
from tests.core.story import simulated
from tests.jobs.shop import Faulty, adds_up, app_of, burst, working

AWAY = BrokerUnavailableError("connection refused")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if not hasattr(record, "job_id") and "away" in record.msg]


# What cannot run


@dataclass(frozen=True)
class Strange:
    """A delivery of something that a producer of another kind has sent."""

    body: bytes
    queue: str = "default"
    crashes: int = 0
    message: Message | None = None


@dataclass
class OnlyThese:
    """A source that has these deliveries, and no others."""

    deliveries: list[Any]
    settled: list[Any] = field(default_factory=list)

    async def take(self, count: int) -> list[Any]:
        if not self.deliveries:
            await anyio.sleep_forever()
        taken, self.deliveries = self.deliveries[:count], self.deliveries[count:]
        return taken

    async def settle_many(self, ends: Any) -> list[bool | Exception]:
        self.settled += [settlement for _, settlement in ends]
        return [True] * len(ends)


class Fixed(Faulty):
    """A broker whose only source is a given one."""

    def __init__(self, source: OnlyThese) -> None:
        super().__init__()
        self.source = source

    def consume(self, queues: Any, hearing: Hearing, **terms: Any) -> Any:
        return _Block(self.source)


class _Block:
    def __init__(self, source: OnlyThese) -> None:
        self.source = source

    async def __aenter__(self) -> OnlyThese:
        return self.source

    async def __aexit__(self, *_: object) -> None:
        pass


@simulated
async def test_what_cannot_be_read_is_dead_with_the_reason() -> None:
    source = OnlyThese([Strange(b"\xff not json")])

    counts = await burst(app_of(Fixed(source)), queues=["default"])

    (settlement,) = source.settled
    assert isinstance(settlement, Died)
    assert settlement.error.type == "jockey.jobs.DecodeError"
    assert settlement.message is None
    assert counts == WorkerCounts(taken=1, dead=1)


@simulated
async def test_what_cannot_be_read_and_cannot_be_buried_is_released() -> None:
    class Refusing(OnlyThese):
        async def settle_many(self, ends: Any) -> list[bool | Exception]:
            await super().settle_many(ends)
            refusal = UnsupportedError("no dead letters here")
            return [refusal if isinstance(settlement, Died) else True for _, settlement in ends]

    source = Refusing([Strange(b"?")])

    counts = await burst(app_of(Fixed(source)), queues=["default"])

    assert [type(settlement) for settlement in source.settled] == [Died, Released]
    assert counts == WorkerCounts(taken=1, released=1)


@simulated
async def test_messages_of_foreign_producers_run() -> None:
    source = OnlyThese([Strange(b'{"name": "add", "args": [1], "kwargs": {"b": 2}}')])
    app = app_of(Fixed(source))

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    await burst(app)

    assert [settlement.result for settlement in source.settled] == [b"3"]


@simulated
async def test_a_task_that_is_not_known_is_dead_with_the_reason_and_its_failure_callbacks() -> None:
    app = app_of()
    told: list[str] = []

    @app.task
    async def tell(trouble: Trouble) -> None:
        told.append(trouble.message)

    async with app:
        job = await app.enqueue("nobody", on_failure=tell, retry=Retry(max_tries=9))
        counts = await burst(app)

        assert (await job.record()).state is State.DEAD  # type: ignore[union-attr]
    assert told[0].startswith("this worker knows no task 'nobody', only ['tell']; import the module")
    assert (counts.dead, counts.succeeded) == (1, 1)


@simulated
async def test_a_task_that_is_declared_after_the_start_of_the_worker_is_dead_with_just_that_reason() -> None:
    app = app_of()

    @app.task
    async def declare() -> None:
        @app.task
        async def late() -> None: ...

        await late.enqueue()

    async with app:
        await declare.enqueue()
        counts = await burst(app)
        [dead] = await app.dead.list()

    assert (counts.succeeded, counts.dead) == (1, 1)
    assert dead.error is not None
    assert dead.error.message.startswith("the task 'late' was declared after this worker had started; import")


@simulated
async def test_arguments_that_do_not_fit_are_the_end_at_once() -> None:
    app = app_of()
    runs: list[int] = []

    @app.task(retry=Retry(max_tries=9))
    async def work(number: int) -> None:
        runs.append(number)

    async with app:
        # As it comes from a producer that does not know the task.
        await app.broker.publish([Message(id="a", name="work", args=("many",))])
        counts = await burst(app)
        with pytest.raises(JobFailedError, match="'work'"):
            await app.job("a").result()

    assert (runs, counts.dead) == ([], 1)


@simulated
async def test_a_result_that_has_no_place_in_json_is_the_end_at_once() -> None:
    app = app_of()
    runs: list[int] = []

    @app.task(retry=Retry(max_tries=9))
    async def work() -> object:
        runs.append(1)
        return object()

    async with app:
        job = await work.enqueue()
        await burst(app)
        with pytest.raises(JobFailedError):
            await job.result()

    assert runs == [1]


@simulated
async def test_a_failure_that_is_returned_fails_the_job_without_a_traceback() -> None:
    app = app_of()
    runs: list[int] = []

    @app.task(retry=Retry(max_tries=2, delay=0))
    async def work() -> int | Failure:
        runs.append(1)
        return Failure("no money")

    async with app:
        job = await work.enqueue()
        await burst(app)
        with pytest.raises(JobFailedError, match="no money") as caught:
            await job.result()

    assert caught.value.trouble is not None
    assert (caught.value.trouble.type, caught.value.trouble.traceback) == ("", "")
    assert runs == [1, 1]


@pytest.mark.parametrize(("error", "told"), [(ValueError(), "ValueError"), (Failure(""), "no reason given")])
@simulated
async def test_the_log_tells_an_end_that_has_no_text(
    error: ValueError | Failure, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_of()

    @app.task
    async def work() -> Failure:
        if isinstance(error, Failure):
            return error
        raise error

    async with app:
        job = await work.enqueue()
        await burst(app)

    ends = [record.getMessage() for record in caplog.records if hasattr(record, "job_id")]
    assert ends == [f"work[{job.id}] is dead: {told}"]


@simulated
async def test_what_is_no_exception_fails_the_job_alone() -> None:
    app = app_of()

    class Odd(BaseException):
        pass

    @app.task
    async def work(*, is_odd: bool) -> None:
        if is_odd:
            raise Odd("odd")

    @app.task
    def leave() -> None:
        raise SystemExit(1)

    async with app:
        await work.enqueue(is_odd=True)
        await leave.enqueue()
        await work.enqueue(is_odd=False)
        counts = await burst(app)

    assert (counts.dead, counts.succeeded) == (2, 1)


# A broker that is away


@simulated
async def test_a_broker_that_is_away_is_asked_again_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    broker = Faulty()
    broker.takes = [AWAY] * 20
    app = app_of(broker)

    @app.task
    async def work() -> int:
        return 1

    with caplog.at_level(logging.INFO):
        async with working(app, name="me"):
            start = anyio.current_time()
            job = await work.enqueue()
            assert await job.result() == 1
            took = anyio.current_time() - start

    assert warnings_of(caplog) == ["worker me: the broker is away, what runs goes on meanwhile: connection refused"]
    assert sum("the broker is back" in record.message for record in caplog.records) == 1
    assert 15 <= took <= 40


@simulated
async def test_any_other_error_of_a_broker_ends_the_worker_and_releases_what_it_has() -> None:
    broker = Faulty()
    broker.takes = [None, RuntimeError("a bug")]
    app = app_of(broker)

    @app.task
    async def work() -> None:
        await anyio.sleep(60)

    async with app:
        job = await work.enqueue()
        with pytest.raises(RuntimeError, match="a bug"):
            await burst(app)

        assert await job.status() is State.QUEUED


@simulated
async def test_jobs_go_on_while_the_broker_is_away_and_are_settled_when_it_is_back() -> None:
    broker = Faulty()
    app = app_of(broker)
    runs: list[int] = []

    @app.task
    async def work(number: int) -> int:
        runs.append(number)
        await anyio.sleep(1)
        return number

    async with working(app, max_jobs=4):
        jobs = [await work.enqueue(number) for number in range(4)]
        await anyio.sleep(0.5)
        broker.settles = [AWAY] * 40
        assert [await job.result() for job in jobs] == [0, 1, 2, 3]

    assert sorted(runs) == [0, 1, 2, 3]


@simulated
async def test_no_more_is_taken_while_nothing_can_be_settled() -> None:
    broker = Faulty()
    broker.settles = [AWAY] * 10_000
    app = app_of(broker)

    @app.task
    async def work() -> None:
        pass

    async with working(app, max_jobs=3):
        for _ in range(20):
            await work.enqueue()
        await anyio.sleep(100)

        assert len(broker.deliveries) == 4 * 3 + 3
        broker.settles.clear()
        await anyio.sleep(10)
        assert len(broker.settled) == 20


@simulated
async def test_the_result_of_a_group_waits_for_the_store_too() -> None:
    broker = Faulty()
    broker.arrivals = [AWAY, None, AWAY]
    app = app_of(broker)
    runs: list[int] = []

    @app.task
    async def work(number: int) -> int:
        runs.append(number)
        return number

    @app.task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    async with app:
        job = await (group(work.s(1), work.s(2)) >> total.s()).enqueue()
        await burst(app)
        assert await job.result() == 3

    assert sorted(runs) == [1, 2]


# A lease that is lost


@simulated
async def test_a_lost_lease_stops_the_job_and_drops_its_outcome() -> None:
    broker = Faulty()
    app = app_of(broker)
    story: list[str] = []

    @app.task
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            story.append("stopped")

    counts: list[WorkerCounts] = []

    async def one() -> None:
        counts.append(await Worker(app, messages_limit=1, handle_signals=()).run())

    async with app, anyio.create_task_group() as tasks:
        await work.enqueue()
        tasks.start_soon(one)
        await anyio.sleep(10)
        assert broker.hearing is not None
        broker.hearing.on_lost(broker.deliveries[0])

    assert story == ["stopped"]
    assert broker.settled == []
    assert counts == [WorkerCounts(taken=1, lost=1)]


async def lose_the_first(broker: Faulty) -> None:
    """Half a minute later, tell the worker that its first delivery is not its own any more."""
    await anyio.sleep(30)
    assert broker.hearing is not None
    broker.hearing.on_lost(broker.deliveries[0])


@simulated
async def test_an_outcome_is_dropped_when_the_lease_is_lost_while_the_broker_is_away() -> None:
    broker = Faulty()
    broker.settles = [AWAY] * 10_000
    app = app_of(broker)

    @app.task
    async def work() -> None:
        pass

    async with app:
        await work.enqueue()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose_the_first, broker)
            counts = await Worker(app, messages_limit=1, handle_signals=()).run()

    assert counts == WorkerCounts(taken=1, lost=1)


@simulated
async def test_a_group_is_not_waited_for_when_the_lease_is_lost_while_the_store_is_away() -> None:
    broker = Faulty()
    broker.arrivals = [AWAY] * 10_000
    app = app_of(broker)

    @app.task
    async def work() -> int:
        return 1

    @app.task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    async with app:
        await (group(work.s()) >> total.s()).enqueue()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose_the_first, broker)
            counts = await Worker(app, messages_limit=1, handle_signals=()).run()

    assert counts == WorkerCounts(taken=1, lost=1)


@pytest.mark.parametrize("has_group", [False, True])
@simulated
async def test_a_lease_that_the_broker_calls_lost_is_lost(has_group: bool) -> None:  # noqa: FBT001
    broker = Faulty()
    app = app_of(broker)

    @app.task
    async def work() -> int:
        return 1

    @app.task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    async with app:
        if has_group:
            broker.arrivals = [LeaseLostError("gone")]
            await (group(work.s()) >> total.s()).enqueue()
        else:
            broker.settles = [LeaseLostError("gone")]
            await work.enqueue()
        counts = await Worker(app, messages_limit=1, handle_signals=()).run()

    assert counts == WorkerCounts(taken=1, lost=1)


@simulated
async def test_a_delivery_that_is_somebody_elses_already_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    source = OnlyThese([Strange(b'{"name": "work"}')])

    async def refuse(ends: Any) -> list[bool | Exception]:
        return [False]

    source.settle_many = refuse  # type: ignore[method-assign]
    app = app_of(Fixed(source))

    @app.task
    async def work() -> None:
        pass

    assert await burst(app) == WorkerCounts(taken=1, lost=1)
    (record,) = (record for record in caplog.records if hasattr(record, "job_id"))
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "is no longer this worker's, and comes again" in record.getMessage()


@simulated
async def test_what_a_source_says_of_a_delivery_before_it_is_here_is_heard() -> None:
    class Early(OnlyThese):
        hearing: Hearing

        async def take(self, count: int) -> list[Any]:
            taken = await super().take(count)
            for delivery in taken:
                self.hearing.on_cancel(delivery, "too late")
            return taken

    class Telling(Fixed):
        def consume(self, queues: Any, hearing: Hearing, **terms: Any) -> Any:
            source.hearing = hearing
            return super().consume(queues, hearing, **terms)

    source = Early([Strange(b'{"name": "work"}'), Strange(b'{"name": "work", "args": []}')])
    app = app_of(Telling(source))
    runs: list[int] = []

    @app.task
    async def work() -> None:
        runs.append(1)

    counts = await burst(app, max_jobs=1)

    assert counts == WorkerCounts(taken=2, cancelled=2)
    assert [(type(settlement), settlement.reason) for settlement in source.settled] == [(Cancelled, "too late")] * 2
    assert runs == []


@simulated
async def test_a_cancellation_that_comes_too_late_changes_nothing() -> None:
    broker = Faulty()
    app = app_of(broker)

    @app.task
    async def work() -> int:
        return 1

    async with app:
        job = await work.enqueue()
        broker.settles = [AWAY]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(burst, app)
            await anyio.sleep(0.01)
            assert broker.hearing is not None
            broker.hearing.on_cancel(broker.deliveries[0], "too late")
        broker.hearing.on_cancel(broker.deliveries[0], "much too late")

        assert await job.result() == 1


# A broker that refuses


@simulated
async def test_work_is_not_done_again_because_what_follows_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    broker = Faulty()
    app = app_of(broker)
    runs: list[int] = []
    followed: list[int] = []

    @app.task
    async def follow(number: int) -> None:
        followed.append(number)

    @app.task(on_success=follow, retry=Retry.always)
    async def work(number: int) -> int:
        runs.append(number)
        return number

    async with app:
        job = await work.enqueue(7)
        broker.settles = [QueueNotDeclaredError("there is no queue 'nowhere'")]
        counts = await burst(app)
        assert counts == WorkerCounts(taken=1, dead=1)
        (dead,) = await app.dead.list()
        assert dead.error is not None
        assert dead.error.message == (
            "the work is done, but what follows from it was refused: there is no queue 'nowhere'; "
            "mend that, and replay the job"
        )
        assert "the broker has refused Succeeded" in caplog.text

        await app.dead.replay(job.id)
        await burst(app)
        assert await job.result() == 7

    assert (runs, followed) == ([7], [7])


@simulated
async def test_what_follows_and_makes_no_sense_does_not_repeat_the_work_either() -> None:
    app = app_of()
    runs: list[int] = []

    @app.task(retry=Retry.always)
    async def work() -> None:
        runs.append(1)

    async with app:
        following = (Step(name="work", options={"delay": "soon"}),)
        await app.broker.publish([Message(id="a", name="work", on_success=following)])
        counts = await burst(app)
        (dead,) = await app.dead.list()

    assert (runs, counts) == ([1], WorkerCounts(taken=1, dead=1))
    assert dead.message is not None
    assert dead.message.done == (None,)


@simulated
async def test_a_retry_that_is_refused_is_the_end() -> None:
    broker = Faulty()
    broker.settles = [UnsupportedError("no delays here")]
    app = app_of(broker)

    @app.task(retry=Retry.always)
    async def work() -> None:
        raise ValueError("boom")

    async with app:
        await work.enqueue()
        counts = await burst(app)
        (dead,) = await app.dead.list()

    assert counts == WorkerCounts(taken=1, dead=1)
    assert dead.error is not None
    assert dead.error.message == "boom; and another try was refused: no delays here"


@simulated
async def test_when_everything_is_refused_the_delivery_is_left_to_its_lease() -> None:
    broker = Faulty()
    broker.settles = [UnsupportedError("no")] * 3
    app = app_of(broker)

    @app.task
    async def work() -> None:
        pass

    async with app:
        await work.enqueue()
        counts = await Worker(app, messages_limit=1, handle_signals=()).run()

    assert counts == WorkerCounts(taken=1, lost=1)


@simulated
async def test_a_group_without_a_store_is_dead_with_its_work_noted() -> None:
    source = OnlyThese(
        [Strange(b'{"v":1,"id":"a","name":"work","join":{"id":"g","index":0,"count":1,"then":{"name":"total"}}}')]
    )
    broker = Fixed(source)
    app = app_of(broker)

    @app.task
    async def work() -> int:
        return 5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(app), "store", None)
        await burst(app)

    (settlement,) = source.settled
    assert isinstance(settlement, Died)
    assert settlement.message is not None
    assert settlement.message.done == (5,)
    assert "the results of a group need a store" in settlement.error.message


# All of it together


@simulated
async def test_everything_taken_comes_to_one_end_whatever_happens() -> None:
    dice = random.Random(7)
    broker = Faulty()
    app = app_of(broker)

    @app.task(timeout=20, retry=Retry(max_tries=3, delay=1, jitter=1))
    async def work(kind: int) -> int | Failure:
        await anyio.sleep(dice.uniform(0, 30))
        match kind:
            case 0:
                raise ValueError("boom")
            case 1:
                return Failure("no")
            case 2:
                return object()  # type: ignore[return-value]
        return kind

    faults = [AWAY, AWAY, None, None, None, UnsupportedError("no"), LeaseLostError("gone")]
    total: list[WorkerCounts] = []

    async def work_on() -> None:
        total.append(await burst(app, max_jobs=5))

    async def disturb(jobs: list[Job[Any]]) -> None:
        for _ in range(100):
            await anyio.sleep(0.5)
            broker.takes = dice.choices([AWAY, None], k=3)
            broker.settles = dice.choices(faults, k=3)
            await dice.choice(jobs).cancel("enough")
            assert broker.hearing is not None
            broker.hearing.on_lost(dice.choice(broker.deliveries))
        broker.takes.clear()
        broker.settles.clear()

    async with app:
        jobs = [await work.enqueue(number % 8) for number in range(100)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work_on)
            tasks.start_soon(work_on)
            tasks.start_soon(disturb, jobs)
        while any(info.ready or info.delayed for info in await app.queues.info()):
            await work_on()
            await anyio.sleep(2)
        states = {await job.status() for job in jobs}

    assert all(adds_up(counts) for counts in total)
    assert all(sum(getattr(counts, end) for counts in total) for end in ("cancelled", "lost", "retried", "dead"))
    assert states == {State.SUCCEEDED, State.DEAD, State.CANCELLED}


# Settlements beside the slots


@simulated
async def test_the_next_job_does_not_wait_until_the_broker_knows_how_the_one_before_ended() -> None:
    broker = Faulty()
    app = app_of(broker)
    started: list[int] = []

    @app.task
    async def work(number: int) -> None:
        started.append(number)

    async with app:
        await work.enqueue(1)
        await work.enqueue(2)
        broker.settles = [AWAY] * 10
        counts = await burst(app, max_jobs=1)

        assert started == [1, 2]
    assert counts == WorkerCounts(taken=2, succeeded=2)


async def starts_of_a_group(broker: Faulty, result: int | Failure) -> list[str]:
    """Return when three jobs of a group start, next to how many are settled, while the broker is away at times."""
    app = app_of(broker)
    story: list[str] = []

    @app.task(group="accounts")
    async def work(number: int) -> int | Failure:
        story.append(f"{number} starts, {len(broker.settled)} settled")
        return result

    async with app:
        for number in range(3):
            await work.enqueue(number)
        broker.settles = [AWAY] * 10
        await burst(app)

    return story


@simulated
async def test_the_next_job_of_a_group_does_wait() -> None:
    assert await starts_of_a_group(Faulty(), 1) == ["0 starts, 0 settled", "1 starts, 1 settled", "2 starts, 2 settled"]


class Ungrouped(Faulty):
    """A broker that knows nothing of groups: jobs come as they are, and the worker sees to their order."""

    def __init__(self) -> None:
        super().__init__()
        self.features = replace(self.inner.features, groups="worker")
        self.groups: dict[str, str | None] = {}

    async def publish(self, messages: Sequence[Message]) -> Any:
        self.groups |= {message.id: message.group for message in messages}
        return await self.inner.publish([msgspec.structs.replace(message, group=None) for message in messages])

    @asynccontextmanager
    async def consume(self, *arguments: Any, **terms: Any) -> AsyncGenerator[UngroupedSource]:
        async with super().consume(*arguments, **terms) as source:
            yield UngroupedSource(self, source)


@dataclass(frozen=True, eq=False)
class Grouped:
    """A delivery whose group is in it all the same."""

    inner: Any
    message: Message
    queue: str
    crashes: int = 0
    body: bytes = b""


class UngroupedSource:
    def __init__(self, broker: Ungrouped, source: Any) -> None:
        self._broker = broker
        self._source = source

    async def take(self, count: int) -> Sequence[Grouped]:
        taken = [(delivery, delivery.message) for delivery in await self._source.take(count)]
        return [
            Grouped(delivery, msgspec.structs.replace(message, group=self._broker.groups[message.id]), message.queue)
            for delivery, message in taken
        ]

    async def settle_many(self, ends: Sequence[tuple[Grouped, Any]]) -> Any:
        return await self._source.settle_many([(delivery.inner, settlement) for delivery, settlement in ends])


@pytest.mark.parametrize("result", [1, Failure("no")], ids=["succeeds", "fails"])
@simulated
async def test_the_next_job_of_a_group_waits_where_the_broker_does_not_see_to_it(result: int | Failure) -> None:
    assert await starts_of_a_group(Ungrouped(), result) == [
        "0 starts, 0 settled",
        "1 starts, 1 settled",
        "2 starts, 2 settled",
    ]


@simulated
async def test_what_was_done_is_settled_although_the_worker_is_cancelled() -> None:
    broker = Faulty()
    app = app_of(broker)

    @app.task
    async def work() -> int:
        return 1

    async with app:
        jobs = [await work.enqueue() for _ in range(20)]
        broker.settles = [AWAY] * 25
        with anyio.move_on_after(0.01):
            await Worker(app, handle_signals=(), max_jobs=4).run()

        states = [await job.status() for job in jobs]
    assert states.count(State.SUCCEEDED) == len(broker.deliveries) > 4
    assert State.RUNNING not in states


@simulated
async def test_a_filter_of_the_log_that_raises_harms_no_job(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "jockey.jobs")
    app = app_of()

    @app.task
    async def work() -> None:
        """Succeed."""

    def broken(record: logging.LogRecord) -> bool:
        if hasattr(record, "job_id"):
            raise ValueError("a filter with a bug")
        return True

    log = logging.getLogger("jockey.jobs")
    async with app:
        for _ in range(5):
            await work.enqueue()
        log.addFilter(broken)
        try:
            counts = await burst(app, max_jobs=2)
        finally:
            log.removeFilter(broken)

    assert counts == WorkerCounts(taken=5, succeeded=5)
    assert capsys.readouterr().err.count("ValueError: a filter with a bug") == 5
