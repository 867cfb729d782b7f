"""
Consume messages from RabbitMQ, and lose none.

Shows an adapter that settles its own message: acknowledged when the handler has succeeded, put into a dead-letter
queue when it has failed, given back to its queue when it was cancelled. RabbitMQ hands out as many messages as jobs may
run and not one more, so nothing piles up here that another consumer could do. On SIGINT (Ctrl-C) or SIGTERM the running
jobs finish and the rest is given back; a second signal ends the program, and RabbitMQ takes back what was not settled.

    pip install jockey aio-pika
    docker run --rm -p 5672:5672 rabbitmq
    python examples/rabbitmq_consumer.py send 100   # put some work into the queue
    python examples/rabbitmq_consumer.py            # and do it

The environment variables AMQP_URL and QUEUE name another server and another queue.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import aio_pika
import anyio
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

import jockey

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost/")
QUEUE = os.environ.get("QUEUE", "jockey-example")
MAX_JOBS = 10

Payload: TypeAlias = dict[str, Any]
Executor: TypeAlias = jockey.Executor[Payload, str, None]
registry = jockey.Registry[Payload, str, None]()


@registry.add("square")
async def square(payload: Payload) -> None:
    number = payload["number"]
    await asyncio.sleep(0.01)
    print(f"{number} * {number} = {number * number}", flush=True)


@registry.add("fail")
def fail(payload: Payload) -> None:
    raise ValueError(f"{payload['number']} is not to my liking")


class Delivery(jockey.Adapter[Payload, str, None]):
    """A message that RabbitMQ has delivered and that must be settled exactly once."""

    def __init__(self, message: AbstractIncomingMessage) -> None:
        self.message = message

    def get_keys(self) -> Iterator[str]:
        yield self.message.type or "untyped"

    async def get_payload(self) -> Payload:
        # A body that is no JSON raises here and so is a failure like any other.
        payload: Payload = json.loads(self.message.body)
        return payload

    async def on_success(self, result: None) -> None:
        await self.message.ack()

    async def on_failure(self, exc: Exception) -> None:
        print(f"dead-lettered: {exc}", flush=True)
        await self.message.nack(requeue=False)

    async def on_no_handler(self) -> None:
        print(f"dead-lettered: nobody handles {self.message.type!r}", flush=True)
        await self.message.nack(requeue=False)

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        await self.message.nack(requeue=True)

    def __repr__(self) -> str:
        return f"{self.message.type}#{self.message.delivery_tag}"


async def declare(channel: AbstractChannel, name: str) -> AbstractQueue:
    """Return the queue of that name, which passes on what was refused to another one."""
    dead = await channel.declare_queue(f"{name}.dead", durable=True)
    return await channel.declare_queue(
        name, durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
    )


async def consume(queue: AbstractQueue, executor: Executor, until: Callable[[], Awaitable[None]]) -> None:
    """Run a job for each message until *until* returns, then finish the jobs that run and give back the others."""
    async with executor.run() as running:

        async def take(message: AbstractIncomingMessage) -> None:  # noqa: ASYNC124 - aio-pika awaits it
            running.schedule(Delivery(message))

        consumer = await queue.consume(take)
        await until()
        await queue.cancel(consumer)


async def told_to_stop() -> None:
    """Wait for Ctrl-C, or for what a service manager sends."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        print(f"consuming {QUEUE}, Ctrl-C ends it", flush=True)
        async for _ in signals:
            return


async def main() -> None:
    # The connection is the outer block: while the executor is being left, the last jobs still settle their messages.
    async with await aio_pika.connect_robust(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=MAX_JOBS)
        executor = jockey.Executor(registry, max_jobs=MAX_JOBS, drain_timeout=30)
        await consume(await declare(channel, QUEUE), executor, until=told_to_stop)


async def send(count: int) -> None:
    """Put *count* messages into the queue; every tenth will fail."""
    async with await aio_pika.connect_robust(URL) as connection:
        channel = await connection.channel()
        queue = await declare(channel, QUEUE)
        for number in range(count):
            await channel.default_exchange.publish(
                aio_pika.Message(
                    json.dumps({"number": number}).encode(),
                    type="fail" if number % 10 == 9 else "square",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                routing_key=queue.name,
            )


if __name__ == "__main__":
    asyncio.run(send(int(sys.argv[2])) if sys.argv[1:2] == ["send"] else main())
