"""An app: open and closed, its queues and dead letters, jobs of tasks that are here or elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from jockey import RegistrationError
from jockey.jobs import (
    App,
    AppClosedError,
    ArgumentsError,
    Message,
    Priority,
    QueueNotDeclaredError,
    ResultUnavailableError,
    Retry,
    Router,
    State,
    UnsupportedError,
    group,
)
from jockey.jobs._broker import Features
from jockey.jobs.brokers.memory import MemoryBroker
from tests.core.story import simulated
from tests.jobs.shop import app_of, burst

pytestmark = pytest.mark.anyio

router = Router()


@router.task(queue=["mail", "slow"])
async def send(to: str) -> int:
    return len(to)


class Broker(MemoryBroker):
    """Notes when it is opened and closed, and can do no more than it is told."""

    def __init__(self, **features: Any) -> None:
        super().__init__()
        self.history: list[str] = []
        self._features = replace(Features(), **features)
        self.refused: str | None = None

    @property
    def features(self) -> Features:
        return self._features

    async def open(self) -> None:
        await super().open()
        self.history.append("open")

    async def close(self) -> None:
        await super().close()
        self.history.append("close")

    async def declare(self, queue: str) -> None:
        if queue == self.refused:
            raise OSError(queue)
        self.history.append(queue)
        await super().declare(queue)


def app_with(broker: Any = "memory://", **options: Any) -> App[Any]:
    app: App[Any] = App(broker, **options)
    app.include(router)
    return app


async def nothing() -> AsyncIterator[None]:
    yield


async def test_an_app_is_opened_once_however_often_it_is_entered() -> None:
    broker = Broker()
    app = app_with(broker)

    async with app, app, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(app.__aenter__)
    assert broker.history == ["open", "mail", "slow"]
    for _ in range(3):
        await app.close()
    assert broker.history == ["open", "mail", "slow", "close"]
    async with app:
        await send.enqueue("a")
    assert broker.history[4:] == ["open", "mail", "slow", "close"]


async def test_an_app_that_is_closed_says_so() -> None:
    app = app_with()

    assert repr(app) == "<App on MemoryBroker, 1 tasks, closed>"
    with pytest.raises(AppClosedError, match="is not open; use `async with app:`"):
        await app.enqueue("send", ["a"])
    with pytest.raises(AppClosedError, match="the task 'send' is in no app that is open: include its router, and use"):
        await send.enqueue("a")
    with pytest.raises(AppClosedError, match="there is nothing to close"):
        await app.close()
    async with app:
        assert repr(app) == "<App on MemoryBroker, 1 tasks, open>"


async def test_a_task_in_two_open_apps_wants_to_know_which() -> None:
    one, two = app_with(), app_with()

    async with one:
        async with two:
            with pytest.raises(AppClosedError, match="in more than one app that is open; say in which one"):
                await send.enqueue("a")
            await two.enqueue("send", ["a"])
        await send.enqueue("a")
        assert await one.queues.size("mail") == 1


async def test_a_broker_whose_queues_cannot_be_declared_is_closed_again() -> None:
    broker = Broker()
    broker.refused = "slow"
    app = app_with(broker)

    with pytest.raises(OSError, match="slow"):
        await app.open()
    assert broker.history == ["open", "mail", "close"]
    broker.refused = None
    async with app:
        await send.enqueue("a")


async def test_an_app_is_closed_even_if_its_block_is_cancelled() -> None:
    broker = Broker()

    with anyio.CancelScope() as scope:
        async with app_with(broker):
            scope.cancel()
            await anyio.sleep(0)
    assert broker.history[-1] == "close"


async def test_queues_that_nobody_declared_are_an_error() -> None:
    async with app_with(auto_declare=False) as app:
        with pytest.raises(QueueNotDeclaredError):
            await send.enqueue("a")
        await app.queues.declare("mail")
        await send.enqueue("a")
        with pytest.raises(QueueNotDeclaredError):
            await send.options(queue="other").enqueue("a")

    async with app_with() as app:
        with pytest.raises(QueueNotDeclaredError):
            await send.options(queue="other").enqueue("a")


@pytest.mark.parametrize("name", ["", 5])
async def test_a_queue_has_a_name(name: Any) -> None:
    async with app_of() as app:
        before = await app.queues.info()
        with pytest.raises(RegistrationError, match="queue must be a text that is not empty"):
            await app.queues.declare("new", name)
        assert await app.queues.info() == before


async def test_size_of_a_queue_that_is_not_there_is_an_error() -> None:
    async with app_of() as app:
        with pytest.raises(QueueNotDeclaredError, match="no queue 'nothing'"):
            await app.queues.size("nothing")


async def test_a_task_of_an_open_app_can_be_declared_and_replaced() -> None:
    async with app_of() as app:

        @app.task(queue="late")
        async def late() -> int:
            return 1

        await late.enqueue()

        @app.task(name="late", replace=True, queue="later")
        async def later() -> int:
            return 2

        await later.enqueue()
        with pytest.raises(AppClosedError):
            await late.enqueue()
        app.include(router)
        app.include(router)
        await send.enqueue("a")
        assert [info.ready for info in await app.queues.info()] == [1, 1, 1]
    with pytest.raises(AppClosedError):
        await later.enqueue()


async def test_jobs_of_tasks_that_are_here_are_checked() -> None:
    async with app_with() as app:
        with pytest.raises(ArgumentsError, match="the argument 'to' of task 'send' does not fit"):
            await app.enqueue("send", [3])
        job = await app.enqueue("send", kwargs={"to": "abc"}, priority=Priority.HIGH)

        assert (await job.record()).queue == "mail"
        await burst(app)
        assert await job.result(5) == 3


async def test_jobs_of_tasks_that_are_elsewhere_are_enqueued_as_they_are() -> None:
    async with app_with() as app:
        await app.queues.declare("far", "default")
        job = await app.enqueue(
            "elsewhere", [1, {2}], {"a": b"b"}, queue="far", id="mine", on_success="send", retry=Retry.once
        )
        plain = await app.enqueue("elsewhere")

        message = (await job.record()).message
        assert message is not None
        assert (message.id, message.queue, message.args, message.kwargs) == ("mine", "far", (1, [2]), {"a": "Yg=="})
        assert message.retry == Retry.once.to_plain()
        assert [step.name for step in message.on_success] == ["send"]
        assert (await plain.record()).queue == "default"
        assert job.name is None
        for args in ([float("nan")], [object()]):
            with pytest.raises(ArgumentsError, match="the arguments of task 'elsewhere' do not fit"):
                await app.enqueue("elsewhere", args)
        for name in ("", send):
            with pytest.raises(ArgumentsError, match="a task is enqueued by its name, got"):
                await app.enqueue(name)  # type: ignore[arg-type]


async def test_many_jobs_are_enqueued_in_one_go() -> None:
    async with app_with() as app:
        jobs = await send.enqueue_many(send.s("a" * number) for number in range(5))
        await burst(app)

        assert [await job.result(5) for job in jobs] == [0, 1, 2, 3, 4]
        assert await send.enqueue_many([]) == []


@simulated
async def test_whoever_does_nothing_but_enqueue_lets_others_have_their_turns() -> None:
    app = app_of()
    turns = 0

    @app.task
    async def work() -> None:
        pass

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0)

    async with app, anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        for _ in range(1000):
            await work.enqueue()
        tasks.cancel_scope.cancel()

    assert turns >= 5


@simulated
async def test_jobs_of_one_task_differ_in_what_is_their_own_and_in_nothing_else() -> None:
    app = app_of()

    @app.task(priority=Priority.HIGH, group="one", timeout=5)
    async def work(number: int, word: str = "") -> None:
        pass

    async with app:
        first = await work.enqueue(1, word="a")
        await anyio.sleep(1)
        second = await work.options(timeout=None).enqueue(number=2)
        messages = [record.message async for record in app.records() if record.message]

    assert {first.id, second.id} == {message.id for message in messages}
    same = [msgspec.structs.replace(message, id="", enqueued_at=0.0) for message in messages]
    assert same == [
        Message(id="", name="work", kwargs={"number": 2}, priority=0, group="one", timeout=0),
        Message(id="", name="work", args=(1,), kwargs={"word": "a"}, priority=0, group="one"),
    ]
    assert messages[0].enqueued_at - messages[1].enqueued_at == 1


async def test_a_duplicate_is_the_job_that_is_there() -> None:
    async with app_with():
        first = await send.options(id="a").enqueue("a")
        again = await send.options(id="a").enqueue("b")
        keyed = await send.options(unique="key").enqueue("c")
        duplicate = await send.options(unique="key").s("d").enqueue()

    assert (first.id, first.is_new) == ("a", True)
    assert (again.id, again.is_new) == ("a", False)
    assert keyed.is_new
    assert (duplicate.id, duplicate.is_new) == (keyed.id, False)


async def test_a_signature_that_lacks_something_cannot_begin() -> None:
    async with app_with() as app:
        words = "lacks its first argument, 'to' of task 'send': give it, or let it follow another signature"
        with pytest.raises(ArgumentsError, match=f"<PartialSignature send> {words}"):
            await app.enqueue_flows([send.s()])
        with pytest.raises(ArgumentsError, match=f"<PartialSignature send> {words}"):
            await send.s().enqueue()  # type: ignore[attr-defined]
        with pytest.raises(ArgumentsError, match=rf"<PartialGroup group\(send, send\)> {words}"):
            await group(send.s("a"), send.s()).enqueue()  # type: ignore[attr-defined]


async def test_what_becomes_unique_later_is_refused_before_anything_is_queued() -> None:
    async with app_with(Broker(uniqueness=False)) as app:

        @app.task(unique=True)
        async def once(length: int) -> None: ...

        @app.task(on_success="ping", on_failure=once)
        async def ping(text: str) -> int:
            return len(text)

        refused = pytest.raises(UnsupportedError, match="a job of 'once' was refused: its broker cannot find dupl")
        for flow in (send.s("a") >> once.s(), ping.s("a")):
            with refused:
                await flow.enqueue()
        for callback in ("once", once):
            with refused:
                await send.options(on_success=callback).enqueue("a")
        await (send.s("a") >> once.options(unique=None).s()).enqueue()

        assert await app.queues.size("mail") == 1


@pytest.mark.parametrize(
    ("lacking", "options", "words"),
    [
        ({"delays": False}, {"delay": 3}, "cannot start jobs later; leave out delay= and at="),
        ({"priorities": False}, {"priority": Priority.LOW}, "cannot let jobs overtake others"),
        ({"uniqueness": False}, {"id": "a"}, "cannot find duplicates"),
        (
            {"uniqueness": False},
            {"unique": "a"},
            "cannot find duplicates; leave out .*, or give the app a store: results=",
        ),
        ({"groups": ""}, {"group": "a"}, "cannot keep the jobs of a group in order"),
    ],
)
async def test_what_the_broker_cannot_do_is_refused(
    lacking: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    async with app_with(Broker(**lacking)) as app:
        asking = send.options(**options)
        for enqueue in (
            lambda: asking.enqueue("a"),
            lambda: (send.s("a") >> asking.s("b")).enqueue(),
            lambda: (group(send.s("a")) >> asking.s("b")).enqueue(),
            lambda: send.options(on_failure=asking.s("b")).enqueue("a"),
            lambda: app.enqueue("send", ["a"], **options),
            lambda: app.enqueue("elsewhere", ["a"], **options),
        ):
            with pytest.raises(UnsupportedError, match=f"a job of '.*' was refused: its broker {words}"):
                await enqueue()
        await send.options(priority=Priority.NORMAL).enqueue("a")
        assert await app.queues.size("mail") == 1


async def test_a_group_that_is_followed_needs_a_store() -> None:
    followed = send.s("a") >> group(send.s("b"), send.s("c")) >> send.si("d")

    async with app_with(Broker(is_store=False)) as app:
        with pytest.raises(UnsupportedError, match="cannot bring the results of a group together; give .*results="):
            await followed.enqueue()
        assert await app.queues.size("mail") == 0
        await group(send.s("a"), send.s("b")).enqueue()
        assert await app.queues.size("mail") == 2


async def test_queues_are_looked_at_emptied_and_removed() -> None:
    async with app_with() as app:
        for to in ("a", "b", "c"):
            await send.enqueue(to)
        await send.options(delay=1000).enqueue("d")

        assert [record.message.args for record in await app.queues.peek("mail", 2) if record.message] == [
            ("a",),
            ("b",),
        ]
        assert await app.queues.size("mail") == 4
        assert {info.name: (info.ready, info.delayed) for info in await app.queues.info()} == {
            "mail": (3, 1),
            "slow": (0, 0),
        }
        assert await app.queues.purge("mail") == 4
        assert await app.queues.size("mail") == 0
        await app.queues.delete("slow")
        assert [info.name for info in await app.queues.info()] == ["mail"]


async def test_dead_letters_are_listed_replayed_and_dropped() -> None:
    app = app_of()

    @app.task
    async def fail() -> None:
        raise ValueError("no")

    async with app:
        one, two = await fail.enqueue(), await fail.enqueue()
        await burst(app)

        assert {record.id for record in await app.dead.list()} == {one.id, two.id}
        assert len(await app.dead.list("default", count=1)) == 1
        assert await app.dead.replay(one.id) == 1
        assert await one.status() is State.QUEUED
        assert await app.dead.drop(two.id) == 1
        assert await app.dead.list() == []


async def test_records_of_many_jobs_are_listed() -> None:
    async with app_with() as app:
        jobs = await send.enqueue_many([send.s("a"), send.s("b")])

        found = [record.id async for record in app.records(queue="mail", state=State.QUEUED)]

        assert sorted(found) == sorted(job.id for job in jobs)


async def test_without_a_store_nothing_is_known() -> None:
    async with app_with(Broker(is_store=False)) as app:
        job = await send.enqueue("a")

        assert app.store is None
        with pytest.raises(ResultUnavailableError, match="keeps no records of jobs; give it a store"):
            app.records()
        with pytest.raises(ResultUnavailableError, match=r"give it a store: App\(..., results='sqlite:"):
            await job.result(5)


async def test_a_store_is_for_brokers_that_have_none() -> None:
    with pytest.raises(UnsupportedError, match="MemoryBroker keeps results itself; leave out results='memory://'"):
        App("memory://", results="memory://")
    with pytest.raises(UnsupportedError, match="Broker keeps no results; use results='sqlite:"):
        App(Broker(is_store=False), results=Broker(is_store=False))
    for results in ("memory://", MemoryBroker()):
        async with app_with(Broker(is_store=False), results=results) as app:
            assert app.store is app.broker


async def test_a_broker_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="got 'kafka://'"):
        App("kafka://")
    with pytest.raises(UnsupportedError, match=r"got 'kafka://\*\*\*@host:9092'"):
        App("kafka://me:secret@host:9092")


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_an_app_on_rabbitmq_connects_when_it_is_opened(scheme: str) -> None:
    url = f"{scheme}://guest:secret@nowhere.invalid/"

    assert repr(App(url)) == "<App on RabbitBroker, 0 tasks, closed>"
    assert repr(App(url, results="memory://")) == "<App on Stored, 0 tasks, closed>"


@pytest.mark.parametrize("url", [None, 5, Path("jobs.db")])
def test_what_is_no_url_is_refused(url: Any) -> None:
    with pytest.raises(UnsupportedError, match="a broker must be a URL, such as 'sqlite:///jobs.db', got "):
        App(url)
    if url is not None:
        with pytest.raises(UnsupportedError, match="results must be a URL, such as 'sqlite:///jobs.db', got "):
            App(url="amqp://localhost", results=url)


@pytest.mark.parametrize("lifespan", [3, nullcontext(), asynccontextmanager(nothing)()])
def test_a_lifespan_is_a_function(lifespan: Any) -> None:
    with pytest.raises(
        RegistrationError, match="lifespan must be a function that returns an async context manager, go"
    ):
        App(lifespan=lifespan)


async def test_the_lifespan_makes_the_state() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[int]:
        yield 3

    async with App[int](lifespan=lifespan).lifespan() as state:
        assert state == 3
    async with App().lifespan() as nothing:
        assert nothing is None


async def test_the_clock_of_an_app_tells_when_jobs_were_enqueued() -> None:
    async with app_with(MemoryBroker(clock=lambda: 5.0), clock=lambda: 5.0):
        job = await send.options(delay=10).enqueue("a")
        message = (await job.record()).message

        assert message is not None
        assert (message.enqueued_at, message.not_before) == (5, 15)


def test_without_msgspec_the_layer_says_what_to_install() -> None:
    code = "import sys; sys.modules['msgspec'] = None; import jockey; import jockey.jobs"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "ImportError: jockey.jobs needs msgspec: pip install 'jockey[jobs]'" in done.stderr


def test_a_msgspec_that_cannot_be_imported_says_why_itself(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise ImportError('it does not load in subinterpreters')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import jockey.jobs"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "ImportError: it does not load in subinterpreters" in done.stderr
    assert "pip install" not in done.stderr


def test_the_core_does_not_import_the_layer() -> None:
    code = "import sys; import jockey; print([name for name in sys.modules if 'jobs' in name or 'msgspec' in name])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
