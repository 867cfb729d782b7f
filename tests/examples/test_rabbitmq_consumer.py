"""examples/rabbitmq_consumer.py settles every message once, on a real RabbitMQ."""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import aio_pika
import anyio
import anyio.to_thread
import pytest

import jockey
from examples.rabbitmq_consumer import Payload, consume, declare
from tests.examples.endings import Endings
from tests.examples.program import but_for_slowness, output, rest_of, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

pytestmark = [pytest.mark.anyio, pytest.mark.broker]


@pytest.fixture
def anyio_backend() -> str:
    """What aio-pika runs on."""
    return "asyncio"


class Broker:
    """A queue that only one test uses."""

    def __init__(self, channel: AbstractChannel, queue: AbstractQueue, dead: AbstractQueue) -> None:
        self.channel = channel
        self.queue = queue
        self.dead = dead

    async def publish(self, kind: str | None, body: bytes = b"{}") -> None:
        await self.channel.default_exchange.publish(aio_pika.Message(body, type=kind), self.queue.name)

    async def ready(self) -> int:
        """Return how many messages wait to be delivered."""
        queue = await self.channel.declare_queue(self.queue.name, passive=True)
        return queue.declaration_result.message_count or 0

    async def left(self) -> list[AbstractIncomingMessage]:
        """Take all messages out of the queue."""
        return await _empty(self.queue)

    async def buried(self, count: int) -> list[AbstractIncomingMessage]:
        """
        Take all messages out of the dead-letter queue.

        Waits for *count* of them: they come there some time after they were refused.
        """
        messages = await _empty(self.dead)
        while len(messages) < count:
            await anyio.sleep(0.01)
            messages += await _empty(self.dead)
        return messages


async def _empty(queue: AbstractQueue) -> list[AbstractIncomingMessage]:
    messages: list[AbstractIncomingMessage] = []
    while message := await queue.get(fail=False, no_ack=True):
        messages.append(message)
    return messages


@pytest.fixture
async def broker(amqp_url: str) -> AsyncIterator[Broker]:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await declare(channel, f"jockey-test-{uuid.uuid4()}")
        dead = await channel.declare_queue(f"{queue.name}.dead", passive=True)
        try:
            yield Broker(channel, queue, dead)
        finally:
            await queue.delete(if_unused=False, if_empty=False)  # noqa: ASYNC102 - nobody cancels a fixture
            await dead.delete(if_unused=False, if_empty=False)  # noqa: ASYNC102 - nobody cancels a fixture


class Consumer:
    """A consumer with two slots that runs in the background."""

    def __init__(self) -> None:
        self.registry = jockey.Registry[Payload, str, None]()
        self.endings = Endings()
        self.started = Endings()
        self.gate = anyio.Event()
        self.stop = anyio.Event()
        self.registry.add("wait")(self._wait)
        self.registry.add("good")(self._succeed)
        self.registry.add("bad")(self._fail)

    async def _wait(self, payload: Payload) -> None:
        self.started.add("wait")
        await self.gate.wait()

    async def _succeed(self, payload: Payload) -> None:
        pass

    async def _fail(self, payload: Payload) -> None:
        raise ValueError("bad")

    @contextlib.asynccontextmanager
    async def run(
        self, broker: Broker, *, prefetch: int = 2, drain_timeout: float | None = None
    ) -> AsyncIterator[None]:
        await broker.channel.set_qos(prefetch_count=prefetch)
        executor = jockey.Executor(
            self.registry, max_jobs=2, drain_timeout=drain_timeout, middleware=[self.endings.record]
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume, broker.queue, executor, self.stop.wait)
            yield
            self.stop.set()


@pytest.fixture
def consumer(anyio_backend: str) -> Consumer:
    return Consumer()


async def test_success_is_acknowledged(broker: Broker, consumer: Consumer) -> None:
    for _ in range(10):
        await broker.publish("good")

    async with consumer.run(broker):
        await consumer.endings.reach(10)

    assert (await broker.left(), await broker.buried(0)) == ([], [])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param("bad", b"{}", id="failed"),
        pytest.param("good", b"{", id="unreadable"),
        pytest.param("ugly", b"{}", id="of an unknown type"),
        pytest.param(None, b"{}", id="without a type"),
    ],
)
async def test_message_is_dead_lettered_when(kind: str | None, body: bytes, broker: Broker, consumer: Consumer) -> None:
    await broker.publish(kind, body)

    async with consumer.run(broker):
        await consumer.endings.reach(1)

    assert await broker.left() == []
    assert [(message.type, message.body) for message in await broker.buried(1)] == [(kind, body)]


async def test_what_no_slot_is_free_for_stays_with_the_broker(broker: Broker, consumer: Consumer) -> None:
    for _ in range(5):
        await broker.publish("wait")

    async with consumer.run(broker):
        await consumer.started.reach(2)
        assert await broker.ready() == 3
        consumer.gate.set()
        await consumer.endings.reach(5)

    assert await broker.left() == []


async def test_stop_lets_running_jobs_finish_and_gives_back_the_rest(broker: Broker, consumer: Consumer) -> None:
    for _ in range(5):
        await broker.publish("wait")

    # One message more than there are slots waits here, and two stay with the broker.
    async with consumer.run(broker, prefetch=3, drain_timeout=60):
        await consumer.started.reach(2)
        consumer.stop.set()
        await consumer.endings.reach(1)
        consumer.gate.set()

    assert [ending.partition(" ")[2] for ending in consumer.endings.seen] == [
        "cancelled: shutdown",
        "succeeded",
        "succeeded",
    ]
    assert sorted(bool(message.redelivered) for message in await broker.left()) == [False, False, True]
    assert await broker.buried(0) == []


async def test_job_that_outlives_the_drain_is_given_back(broker: Broker, consumer: Consumer) -> None:
    await broker.publish("wait")

    async with consumer.run(broker, drain_timeout=0.01):
        await consumer.started.reach(1)

    assert [message.redelivered for message in await broker.left()] == [True]
    assert await broker.buried(0) == []


async def test_no_message_is_lost_or_done_twice_when_the_program_is_replaced_in_the_middle(
    broker: Broker, amqp_url: str
) -> None:
    environment = {"AMQP_URL": amqp_url, "QUEUE": broker.queue.name}
    program = "examples/rabbitmq_consumer.py"
    await anyio.to_thread.run_sync(lambda: output(program, "send", "300", environment=environment))

    def consume_until(count: int) -> list[str]:
        """Run the program until it has dealt with *count* messages, then tell it to stop."""
        with start(program, environment=environment) as running:
            try:
                assert running.stdout
                assert next(running.stdout).startswith("consuming")
                lines = list(islice(running.stdout, count))
                running.send_signal(signal.SIGTERM)
                rest, complaints = rest_of(running)
            finally:
                running.kill()
        assert (running.returncode, but_for_slowness(complaints)) == (0, "")
        return [*lines, *rest.splitlines(keepends=True)]

    first = await anyio.to_thread.run_sync(consume_until, 100)
    second = await anyio.to_thread.run_sync(consume_until, 300 - len(first))

    done = [f"{number} * {number} = {number**2}\n" for number in range(300) if number % 10 != 9]
    failed = [f"dead-lettered: {number} is not to my liking\n" for number in range(9, 300, 10)]
    assert Counter(first + second) == Counter(done + failed)
    assert sorted(message.body for message in await broker.buried(len(failed))) == sorted(
        b'{"number": %d}' % number for number in range(9, 300, 10)
    )
    assert await broker.left() == []
