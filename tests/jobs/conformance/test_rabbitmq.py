"""
RabbitMQ with a store beside it, held to what all brokers promise.

The list is the statement. What is missing in it, and why:

- Delays, leases and crashes (`test_delayed_*`, `test_scheduled_*`, `test_retried_*`, `test_lost_*`, `test_leases_*`,
  `test_job_that_kills_its_workers_is_dead`, `test_record_follows_*`, `test_keys_are_unique_*`, `test_purge_*`,
  `test_cancelled_job_does_not_come_again`): they turn the clock by hand, and RabbitMQ's cannot be turned. The model of
  all brokers, and RabbitMQ's own tests, do that in real time.
- Order across queues (`test_queues_are_taken_from_as_if_they_were_one`) and groups across workers
  (`test_groups_*`): RabbitMQ has neither.
- What runs, waits for its time, or has waited longest (`test_info_*`, `test_workers_*`, `test_peek_*`): it does
  not tell.
- Queues that are not declared (`test_nothing_is_published_*`: it does not know the names of the others;
  `test_successors_*`: one cannot consume from them; `test_deleted_*` and `test_replayed_dead_letter*`: the dead
  letters are deleted with the queue).
- `test_worker_hears_once_*`: the store is asked every half second; the tests of `Stored` do that.
- Records kept for another broker (`test_records_of_jobs_*`, `test_*jobs_of_another_broker_*`): here it is that broker.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from jockey.jobs._broker import Delivery
from jockey.jobs._state import State
from jockey.jobs._stored import Stored
from jockey.jobs.brokers.memory import MemoryBroker
from jockey.jobs.brokers.rabbitmq import RabbitBroker
from jockey.jobs.brokers.rabbitmq_client import Channel, Parcel
from tests.jobs.conformance import test_delivery, test_queues, test_records
from tests.jobs.conformance.carriers import Bench

PROMISES = [
    test_delivery.test_what_was_published_is_delivered_once,
    test_delivery.test_urgent_jobs_come_first_and_equal_ones_in_their_order,
    test_delivery.test_take_waits_for_what_comes,
    test_delivery.test_all_who_wait_hear_of_what_comes,
    test_delivery.test_cancelled_take_leaves_nothing_behind,
    test_delivery.test_settled_job_never_comes_again,
    test_delivery.test_released_job_has_its_old_place_and_no_attempt_spent,
    test_delivery.test_leaving_releases_what_was_taken,
    test_queues.test_queue_that_is_not_there_is_an_error_to_whoever_asks_for_it,
    test_queues.test_declaring_again_keeps_what_is_there,
    test_queues.test_dead_letters_keep_the_job_and_the_reason,
    test_queues.test_replayed_job_is_found_by_its_key_again,
    test_queues.test_dropped_dead_letters_are_gone,
    test_records.test_success_after_failures_is_a_success,
    test_records.test_results_are_kept_for_their_time,
    test_records.test_removed_records_are_gone_and_others_stay,
    test_records.test_records_come_newest_first_and_can_be_chosen,
    test_records.test_wait_returns_when_the_job_has_ended,
    test_records.test_wait_says_when_nothing_is_kept,
    test_records.test_somebody_may_stop_waiting,
    test_records.test_id_that_is_known_is_not_enqueued_again,
    test_records.test_join_returns_all_results_when_none_is_missing,
    test_records.test_join_is_kept_for_its_time_from_the_last_arrival_on,
    test_records.test_waiting_job_is_cancelled_at_once,
    test_records.test_cancelled_job_may_still_succeed,
]
# pytest takes them for tests of this module, with its fixtures.
globals().update({promise.__name__: promise for promise in PROMISES})

pytestmark = [pytest.mark.anyio, pytest.mark.broker]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class RabbitCarrier:
    """RabbitMQ, and a store in memory whose clock is turned by hand."""

    is_durable = True

    def __init__(self, url: str, prefix: str) -> None:
        self.time = time.time()
        self.stored = Stored(RabbitBroker(url, delays=f"{prefix}delays", clock=self.now), MemoryBroker(clock=self.now))

    def connect(self) -> Any:
        return self.stored

    def now(self) -> float:
        return self.time

    async def advance(self, seconds: float) -> None:
        self.time += seconds

    async def poll(self, source: Any, count: int) -> Sequence[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < count:
            with anyio.move_on_after(0.1) as scope:
                taken += await source.take(count - len(taken))
            if scope.cancelled_caught and await self.is_empty(source.inner.intake._queues):
                break
        return taken

    async def is_empty(self, queues: Sequence[str]) -> bool:
        # What is on its way to the worker is not ready any more for RabbitMQ, but still queued for the store.
        for queue in queues:
            if [record.id async for record in self.stored.records(queue=queue, state=State.QUEUED)]:
                return False
        return all(info.ready == 0 for info in await self.stored.info())


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> tuple[str, set[str]]:
    """Give all queues of this test names of their own, behind the back of the broker."""
    prefix = f"jockey-test-{os.getpid()}-{uuid.uuid4().hex[:8]}-"
    declared: set[str] = set()
    for name in ("get", "give_back", "consume", "size", "consumers", "purge", "delete", "bind"):
        monkeypatch.setattr(Channel, name, prefixing(getattr(Channel, name), prefix))
    declare, publish = Channel.declare, Channel.publish

    async def prefixed_declare(channel: Channel, queue: str, arguments: dict[str, Any]) -> None:
        declared.add(queue)
        if "x-dead-letter-routing-key" in arguments:
            arguments = {**arguments, "x-dead-letter-routing-key": prefix + arguments["x-dead-letter-routing-key"]}
        await declare(channel, prefix + queue, arguments)

    def prefixed_publish(channel: Channel, parcels: Sequence[tuple[Parcel, str]], on_end: Callable[..., Any]) -> None:
        prefixed = [(replace(parcel, place=prefix + parcel.place), exchange) for parcel, exchange in parcels]
        publish(channel, prefixed, on_end)

    monkeypatch.setattr(Channel, "declare", prefixed_declare)
    monkeypatch.setattr(Channel, "publish", prefixed_publish)
    return prefix, declared


def prefixing(method: Callable[..., Any], prefix: str) -> Callable[..., Any]:
    def prefixed(channel: Channel, queue: str, *arguments: Any) -> Any:
        return method(channel, prefix + queue, *arguments)

    return prefixed


@pytest.fixture
async def bench(amqp_url: str, prefix: tuple[str, set[str]]) -> AsyncIterator[Bench]:
    carrier: Any = RabbitCarrier(amqp_url, prefix[0])
    broker = carrier.connect()
    await broker.open()
    await broker.declare("default")
    yield Bench(carrier, broker)

    async def delete(channel: Channel) -> None:
        for queue in prefix[1]:
            await channel.delete(queue)

    await carrier.stored._broker._control(delete)
    await broker.close()
