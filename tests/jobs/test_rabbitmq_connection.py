"""Connections to RabbitMQ that break, at every step, and what is made of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import anyio
import pytest
from pamqp import frame
from pamqp.commands import Connection
from yarl import URL

from jockey.jobs import App, Context, Retry, Worker
from jockey.jobs._broker import Died, Retried, Succeeded
from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs._message import Message, Trouble
from jockey.jobs.brokers import rabbitmq_client, rabbitmq_intake
from jockey.jobs.brokers.rabbitmq import RabbitBroker
from jockey.jobs.brokers.rabbitmq_client import Channel, Parcel
from jockey.jobs.brokers.rabbitmq_intake import Ending
from jockey.jobs.brokers.rabbitmq_thread import Reply
from tests.jobs.rabbit import Nth, Proxy, Rabbit, new, read, settle, take

# What takes long is the thread's business alone, and asyncio on both sides.
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
# One after the other: they have many connections and queues at a time, and a server has only so many descriptors.
pytestmark = [pytest.mark.anyio, pytest.mark.broker]

# Class and method of what goes over the wire; first the four letters of "AMQP", read in the same way.
HEADER, START, START_OK, TUNE, TUNE_OK = (0x414D, 0x5150), (10, 10), (10, 11), (10, 30), (10, 31)
OPEN, OPEN_OK, CLOSE, CLOSE_OK = (10, 40), (10, 41), (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_OPEN_OK, CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 10), (20, 11), (20, 40), (20, 41)
DECLARE, DECLARE_OK = (50, 10), (50, 11)
QOS, QOS_OK, CONSUME, CONSUME_OK = (60, 10), (60, 11), (60, 20), (60, 21)
PUBLISH, DELIVER, ACK, CANCEL, CANCEL_OK = (60, 40), (60, 60), (60, 80), (60, 30), (60, 31)
SELECT, SELECT_OK = (85, 10), (85, 11)

CONNECTING = [
    ("->", HEADER),
    ("<-", START),
    ("->", START_OK),
    ("<-", TUNE),
    ("->", TUNE_OK),
    ("->", OPEN),
    ("<-", OPEN_OK),
    ("->", CHANNEL_OPEN),
    ("<-", CHANNEL_OPEN_OK),
]
WORKING = [
    *(("->", method) for method in (SELECT, DECLARE, CHANNEL_CLOSE, QOS, CONSUME, PUBLISH, ACK, CANCEL)),
    *(("<-", method) for method in (SELECT_OK, DECLARE_OK, CHANNEL_CLOSE_OK, QOS_OK, CONSUME_OK, CANCEL_OK)),
    *(("<-", method) for method in (DELIVER, ACK)),
]
CLOSING = [("->", CLOSE), ("<-", CLOSE_OK)]
# The producer connects first, and then the worker, or whoever connects again; what is published is the job, and then
# its second try.
STEPS = [
    *((*step, 1) for step in CONNECTING + WORKING + CLOSING),
    *((*step, 2) for step in CONNECTING + CLOSING),
    *((*step, 2) for step in (("->", PUBLISH), ("<-", ACK), ("->", ACK), ("<-", DELIVER), ("->", CONSUME))),
]

HOW = ["cut", "stall", "half"]
AT_ONCE = 8
"""Steps are tried side by side, for they mostly wait; but RabbitMQ shall not need more files than it may open."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def rabbit(amqp_url: str) -> AsyncIterator[Rabbit]:
    rabbit = Rabbit(amqp_url)
    yield rabbit
    await persist(rabbit.clean)


@asynccontextmanager
async def keeping(rabbit: Rabbit) -> AsyncIterator[RabbitBroker]:
    """Have a connection that nothing breaks."""
    broker = rabbit.broker()
    await persist(broker.open)
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def queue_for(step: Any, rabbit: Rabbit, keeper: RabbitBroker) -> AsyncIterator[str]:
    """Have a queue for one step, and not for longer: each is several, and a server can have only so many."""
    queue = f"{rabbit.queue}-{STEPS.index(step)}"
    rabbit.queues.append(queue)
    yield queue
    await persist(keeper.delete, queue)
    rabbit.queues.remove(queue)


async def persist(function: Any, *arguments: Any) -> Any:
    """Do it again until it works."""
    while True:
        try:
            return await function(*arguments)
        except BrokerUnavailableError:
            await anyio.sleep(0.05)


async def run_one_job(rabbit: Rabbit, queue: str, url: str) -> list[str]:
    """Send a job all the way, over a connection that breaks somewhere; return what has been worked on."""
    broker = rabbit.broker(url)
    await persist(broker.open)
    try:
        await persist(broker.declare, queue)
        await persist(broker.publish, [new(queue, "a")])
        worked = await persist(work, rabbit, broker, queue)
        assert not [info for info in await persist(broker.info, queue) if info.dead]
        return worked
    finally:
        await broker.close()


async def work(rabbit: Rabbit, broker: Any, queue: str) -> list[str]:
    """Try a job twice, until it is done."""
    worked = []
    async with rabbit.consume(broker, queue) as source:
        while True:
            [delivery] = await take(source, 1)
            message = read(delivery)
            worked.append(f"{message.name}{message.attempt}")
            end = Succeeded(b"1") if message.attempt else Retried(new(queue, "a", id=message.id, attempt=1), 0)
            if await settle(source, delivery, end) and message.attempt:
                return worked


async def each_step(go: Any) -> None:
    """Do it with each step, some side by side."""
    left = list(STEPS)

    async def go_on() -> None:
        while left:
            await go(*left.pop())

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(go_on)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice silence soon."""
    monkeypatch.setattr(aiormq.Connection, "HEARTBEAT_GRACE_MULTIPLIER", 0.75)
    monkeypatch.setattr(rabbitmq_client, "CONNECT_TIMEOUT", 5.0)
    monkeypatch.setattr(rabbitmq_client, "CLOSE_TIMEOUT", 0.2)
    monkeypatch.setattr(rabbitmq_intake, "LONGEST_PAUSE", 0.2)


@on_asyncio
@pytest.mark.ends
@pytest.mark.parametrize("how", HOW)
@pytest.mark.usefixtures("impatience")
async def test_connection_that_breaks_at_any_step_loses_nothing(rabbit: Rabbit, how: str) -> None:
    worked: dict[Any, list[str]] = {}
    lost: dict[Any, int] = {}

    async def go(*step: Any) -> None:
        async with queue_for(step, rabbit, keeper) as queue:
            with Proxy(rabbit.url) as proxy:
                proxy.how, proxy.breaks = how, Nth(*step)
                # Either side asks after a second whether the other one is there.
                worked[step] = await run_one_job(rabbit, queue, str(URL(proxy.url).update_query(heartbeat="1")))
                assert proxy.breaks.left <= 0, step
                lost[step] = proxy.connections - 2

    async with keeping(rabbit) as keeper:
        await each_step(go)

    # The first try, the second one, and for each connection that was lost both again: nobody knew what had arrived.
    assert worked.keys() == set(STEPS)
    for step, steps in worked.items():
        assert set(steps) == {"a0", "a1"}
        assert len(steps) <= 2 + 2 * lost[step]


@on_asyncio
@pytest.mark.ends
@pytest.mark.usefixtures("impatience")
async def test_worker_recovers_by_itself_from_a_connection_that_breaks_at_any_step(rabbit: Rabbit) -> None:
    worked: dict[Any, list[int]] = {}

    async def go(*step: Any) -> None:
        async with queue_for(step, rabbit, keeper) as queue:
            await recover(step, queue)

    async def recover(step: Any, queue: str) -> None:
        tries = worked[step] = []
        with Proxy(rabbit.url) as proxy:
            # All that lies below is tried with all of them, above.
            proxy.how, proxy.breaks = HOW[STEPS.index(step) % len(HOW)], Nth(*step)
            app = App(rabbit.broker(str(URL(proxy.url).update_query(heartbeat="1"))))
            done = anyio.Event()

            @app.task(queue=queue, retry=Retry(delay=0))
            async def work(context: Context[None]) -> None:
                tries.append(context.attempt)
                if context.attempt < 3:
                    raise ValueError("once more")
                done.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Worker(app, handle_signals=()).run)
                await persist_in_queue(keeper, new(queue, "work"))
                await done.wait()
                tasks.cancel_scope.cancel()
            assert proxy.breaks.left <= 0, step

    async with keeping(rabbit) as keeper:
        await each_step(go)

    assert worked.keys() == set(STEPS)
    assert [set(tries) for tries in worked.values()] == [{1, 2, 3}] * len(STEPS)


async def test_worker_consumes_again_when_rabbitmq_is_back(rabbit: Rabbit) -> None:
    async with rabbit.open() as producer:
        await producer.declare(rabbit.queue)
        with Proxy(rabbit.url) as proxy:
            async with rabbit.open(proxy.url) as broker, rabbit.consume(broker) as source:
                await producer.publish([new(rabbit.queue, "held"), new(rabbit.queue, "too")])
                held = await take(source, 2)
                proxy.refuse()
                await rabbit.has_lost.wait()

                assert await settle(source, held[0], Succeeded(b"1")) is False
                assert await settle(source, held[1], Died(Trouble(message="no"))) is False
                async with anyio.create_task_group() as tasks:
                    again: list[Any] = []

                    async def pending() -> None:
                        again.extend(await take(source, 3))

                    tasks.start_soon(pending)
                    await producer.publish([new(rabbit.queue, "new")])
                    await anyio.sleep(0.2)
                    with pytest.raises(BrokerUnavailableError):
                        await broker.publish([new(rabbit.queue)])
                    proxy.accept()

        assert sorted((read(delivery).name, delivery.crashes) for delivery in again) == [
            ("held", 1),
            ("new", 0),
            ("too", 1),
        ]
        assert sorted(rabbit.lost) == ["held", "too"]


async def test_worker_that_starts_before_rabbitmq_works_as_soon_as_it_is_there(rabbit: Rabbit) -> None:
    with Proxy(rabbit.url) as proxy:
        proxy.refuse()
        app = App(rabbit.broker(proxy.url))
        done = anyio.Event()

        @app.task(queue=rabbit.queue)
        async def work() -> None:
            done.set()

        with pytest.raises(BrokerUnavailableError, match="RabbitMQ cannot be reached"):
            await app.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Worker(app, handle_signals=()).run)
            await anyio.sleep(0.2)
            proxy.accept()
            async with rabbit.open() as producer:
                await persist_in_queue(producer, new(rabbit.queue, "work"))
            await done.wait()
            tasks.cancel_scope.cancel()


async def persist_in_queue(producer: Any, message: Message) -> None:
    """Publish as soon as somebody has declared the queue, and it is ready: until then RabbitMQ refuses messages."""
    while True:
        try:
            await producer.publish([message])
        except (BrokerUnavailableError, QueueNotDeclaredError):
            await anyio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wrong"}, "ACCESS_REFUSED"),
        ({"path": "/jockey-has-none"}, "it does not open the virtual host of '/jockey-has-none': see that it exists"),
        ({"scheme": "amqps"}, "SSL"),
    ],
)
async def test_worker_whose_url_is_wrong_is_told_at_once(rabbit: Rabbit, change: dict[str, str], reason: str) -> None:
    url = URL(rabbit.url)
    parts: Any = {part: getattr(url, part) for part in ("scheme", "user", "password", "host", "path")}
    wrong = URL.build(port=url.port or 5672, **parts | change)

    with pytest.raises(BrokerUnavailableError, match=reason) as caught:
        await Worker(App(str(wrong)), ["default"], handle_signals=()).run()

    assert not caught.value.is_away


@on_asyncio
async def test_server_that_begins_with_something_else_is_not_waited_for() -> None:
    async def answer(_: Any, writer: Any) -> None:
        writer.write(frame.marshal(Connection.Close(320, "not today", 0, 0), 0))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerUnavailableError, match="Start") as caught:
            await Worker(App(f"amqp://127.0.0.1:{port}/"), ["default"], handle_signals=()).run()
    assert not caught.value.is_away


async def test_settlement_waits_for_the_connection_that_publishes(rabbit: Rabbit) -> None:
    async with rabbit.open() as producer:
        await producer.declare(rabbit.queue)
        await producer.publish([new(rabbit.queue)])
        with Proxy(rabbit.url) as publishing:
            async with rabbit.open(publishing.url) as broker:
                broker._url = rabbit.url
                async with rabbit.consume(broker) as source:
                    broker._url = publishing.url
                    [delivery] = await take(source, 1)
                    publishing.refuse()
                    async with anyio.create_task_group() as tasks:

                        async def tell() -> None:
                            assert await settle(source, delivery, Retried(new(rabbit.queue, "again"), 0))

                        tasks.start_soon(tell)
                        await anyio.sleep(0.2)
                        publishing.accept()
                    [delivery] = await take(source, 1)
                    assert read(delivery).name == "again"


async def test_settlement_is_refused_when_the_lease_is_lost_while_it_waits(rabbit: Rabbit) -> None:
    async with rabbit.open() as producer:
        await producer.declare(rabbit.queue)
        await producer.publish([new(rabbit.queue)])
        with Proxy(rabbit.url) as proxy:
            async with rabbit.open(proxy.url) as broker, rabbit.consume(broker) as source:
                [delivery] = await take(source, 1)
                # The confirmation never comes, and then all is cut.
                proxy.breaks = Nth("->", PUBLISH)
                proxy.how = "stall"
                async with anyio.create_task_group() as tasks:

                    async def tell() -> None:
                        assert await settle(source, delivery, Retried(new(rabbit.queue), 0)) is False

                    tasks.start_soon(tell)
                    while proxy.breaks.left:
                        await anyio.sleep(0.01)
                    proxy.refuse()
                    for pair in proxy._stalled:
                        for writer in pair:
                            proxy._loop.call_soon_threadsafe(writer.transport.abort)


async def test_queue_that_is_deleted_under_a_worker_and_declared_again(rabbit: Rabbit) -> None:
    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)
        async with rabbit.consume(broker) as source:
            await broker.publish([new(rabbit.queue, "a")])
            await take(source, 1)
            await broker.delete(rabbit.queue)
            await rabbit.has_lost.wait()
            await broker.declare(rabbit.queue)
            await broker.publish([new(rabbit.queue, "b")])

            assert [read(delivery).name for delivery in await take(source, 1)] == ["b"]


@on_asyncio
async def test_heartbeats_go_on_while_the_event_loop_is_blocked(rabbit: Rabbit) -> None:
    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)
        await broker.publish([new(rabbit.queue)])
        with Proxy(rabbit.url) as proxy:
            broker._url = proxy.url
            async with rabbit.consume(broker, lease=3) as source:
                [delivery] = await take(source, 1)
                before = proxy.beats
                while proxy.beats == before:
                    time.sleep(0.01)
                # Where the whole process has stood still for longer than the lease, it is lost, and that is told.
                assert await settle(source, delivery, Succeeded(b"1")) is not bool(rabbit.lost)


@on_asyncio
async def test_silent_connection_is_noticed(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiormq.Connection, "HEARTBEAT_GRACE_MULTIPLIER", 0.4)
    monkeypatch.setattr(rabbitmq_client, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(rabbitmq_intake, "LONGEST_PAUSE", 0.2)
    async with rabbit.open() as producer:
        await producer.declare(rabbit.queue)
        await producer.publish([new(rabbit.queue, "held")])
        with Proxy(rabbit.url) as proxy:
            async with rabbit.open() as broker:
                broker._url = proxy.url
                async with rabbit.consume(broker, lease=3) as source:
                    await take(source, 1)
                    proxy.stall()
                    await rabbit.has_lost.wait()
                    # The server would notice it too, later.
                    proxy.drop()
                    [again] = await take(source, 1)
                    assert (read(again).name, again.crashes) == ("held", 1)
                    assert await settle(source, again, Succeeded(b"1"))


async def test_broker_that_is_closed_meanwhile_answers_those_who_wait(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_client, "CLOSE_TIMEOUT", 0.1)
    with Proxy(rabbit.url) as proxy:
        broker = rabbit.broker(proxy.url)
        await broker.open()
        proxy.how, proxy.breaks = "stall", Nth("->", DECLARE)
        async with anyio.create_task_group() as tasks:

            async def declare() -> None:
                with pytest.raises(BrokerUnavailableError, match="was closed"):
                    await broker.declare(rabbit.queue)

            tasks.start_soon(declare)
            while proxy.breaks.left:
                await anyio.sleep(0.01)
            await broker.close()
    assert "jockey-rabbitmq" not in {thread.name for thread in threading.enumerate()}


async def test_consuming_that_is_cancelled_while_it_begins_leaves_no_connection(rabbit: Rabbit) -> None:
    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)
        connect, home = broker._connect, broker._opened().thread.home
        connections: list[Any] = []
        has_begun, goes_on = anyio.Event(), threading.Event()

        async def connect_slowly(name: str, heartbeat: int) -> Any:
            connections.append(await connect(name, heartbeat))
            home.post(has_begun.set)
            await asyncio.to_thread(goes_on.wait)
            return connections[0]

        broker._connect = connect_slowly  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rabbit.consume(broker).__aenter__)
            await has_begun.wait()
            tasks.cancel_scope.cancel()
        goes_on.set()

        while not connections[0].is_closed:
            await anyio.sleep(0.01)


async def test_server_that_says_nothing_is_not_waited_for(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_client, "CONNECT_TIMEOUT", 0.1)
    with Proxy(rabbit.url) as proxy:
        proxy.how, proxy.breaks = "stall", Nth("->", START_OK)

        with pytest.raises(BrokerUnavailableError, match="TimeoutError"):
            await rabbit.broker(proxy.url).open()


@on_asyncio
async def test_worker_that_steps_back_may_lose_its_connection(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_intake, "PATIENCE", 0.05)
    async with rabbit.open() as producer:
        await producer.declare(rabbit.queue)
        with Proxy(rabbit.url) as proxy:
            async with rabbit.open(proxy.url) as broker, rabbit.consume(broker) as source:
                await producer.publish([new(rabbit.queue, "a", priority=0)])
                await producer.publish([new(rabbit.queue, "b")])
                proxy.breaks = Nth("->", CANCEL)
                await take(source, 1)
                while proxy.breaks.left:
                    await anyio.sleep(0.01)
                names = {read(delivery).name for delivery in await take(source, 2)}
    assert names == {"a", "b"}


@on_asyncio
async def test_acknowledgement_that_cannot_be_sent_is_no_settlement(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ack(channel: object, tags: object) -> None:
        raise BrokerUnavailableError("cut")

    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)
        await broker.publish([new(rabbit.queue, "a"), new(rabbit.queue, "b")])
        async with rabbit.consume(broker) as source:
            [first, second] = await take(source, 2)
            with monkeypatch.context() as patch:
                patch.setattr(Channel, "ack", ack)
                assert await settle(source, first, Succeeded(b"1")) is False
            intake: Any = source.intake  # type: ignore[attr-defined]
            broker_thread: Any = intake._thread

            # Lost before that is known to whoever settles it, and something that comes when all is lost.
            reply: Any = Reply[list[bool | Exception]](broker_thread.home)
            channel = intake._channel
            arrival = first.arrival  # type: ignore[attr-defined]

            def lose() -> None:
                intake._lose_all()
                intake._arrive(channel, rabbit.queue, rabbit.queue, 1, [arrival])
                intake.settle([Ending(second)], reply)

            broker_thread.post(lose)
            await reply.event.wait()
            assert reply.result() == [False]
            broker_thread.post(lambda: setattr(intake, "_channel", channel))


@on_asyncio
async def test_channel_that_fails_is_replaced(rabbit: Rabbit) -> None:
    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)
        # So late that it surely goes through the exchange, and does not come in this test.
        later = time.time() + 3600
        await broker.publish([new(rabbit.queue, "later", not_before=later)])

        async def delete(channel: Any) -> None:
            await channel._channel.exchange_delete(f"{rabbit.name}-delays")

        await broker._control(delete)
        with pytest.raises(BrokerUnavailableError, match="RabbitMQ misses something"):
            await broker.publish([new(rabbit.queue, "refused", not_before=later)])
        soon = new(rabbit.queue, "soon", not_before=time.time() + 0.05)
        await broker.publish([soon, new(rabbit.queue, "late", not_before=later)])
        async with rabbit.consume(broker) as source:
            [delivery] = await take(source, 1)
        assert read(delivery).name == "soon"


@on_asyncio
async def test_message_that_cannot_be_put_elsewhere_is_told_and_stays(
    rabbit: Rabbit, caplog: pytest.LogCaptureFixture
) -> None:
    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)

        async def delete(channel: Any) -> None:
            await channel.delete(f"{rabbit.queue}.dead")

        await broker._control(delete)
        poison = Parcel(b"{}", rabbit.queue, {"jockey-crashes": 5})
        await broker._call(lambda sender: sender.send([poison]))
        async with rabbit.consume(broker) as source:
            with anyio.move_on_after(10):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(source.take, 1)
                    while "could not be put elsewhere" not in caplog.text:
                        await anyio.sleep(0.01)
                    tasks.cancel_scope.cancel()
        assert "could not be put elsewhere" in caplog.text
        await broker.declare(rabbit.queue)
        async with rabbit.consume(broker, max_crashes=6) as source:
            [delivery] = await take(source, 1)
            assert (delivery.body, delivery.crashes) == (b"{}", 5)
