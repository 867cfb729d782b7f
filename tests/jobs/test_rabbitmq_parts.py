"""The parts of the broker that need no RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from jockey.jobs._errors import BrokerUnavailableError
from jockey.jobs.brokers import rabbitmq_intake
from jockey.jobs.brokers.rabbitmq_client import Arrival, Channel, Parcel, translated
from jockey.jobs.brokers.rabbitmq_frames import Content, acknowledged
from jockey.jobs.brokers.rabbitmq_intake import Ending, Intake
from jockey.jobs.brokers.rabbitmq_messages import RabbitDelivery, delivery_of
from jockey.jobs.brokers.rabbitmq_sender import _settle
from jockey.jobs.brokers.rabbitmq_shelf import Shelf
from jockey.jobs.brokers.rabbitmq_thread import LoopThread, Mailbox, tell
from jockey.jobs.brokers.rabbitmq_topology import LONGEST, TICK, bucket_for


@given(st.floats(min_value=0.001, max_value=400 * 86_400))
def test_buckets_add_up_to_the_delay_and_to_less_than_one_tick_more(delay: float) -> None:
    waited = hops = 0
    while (bucket := bucket_for(delay - waited / 1000)) is not None:
        assert bucket <= LONGEST
        assert (bucket // TICK).bit_count() == 1
        waited += bucket
        hops += 1

    assert delay * 1000 - 0.001 <= waited < delay * 1000 + TICK
    assert hops <= 26 + delay * 1000 / LONGEST


@pytest.mark.parametrize(
    ("delay", "bucket"), [(0, None), (-1, None), (0.001, 64), (2, 2048), (12, 8192), (1e9, LONGEST)]
)
def test_bucket_is_the_longest_that_is_not_too_long(delay: float, bucket: int | None) -> None:
    assert bucket_for(delay) == bucket


def test_mailbox_wakes_the_loop_once_for_all_that_is_posted() -> None:
    woken, opened = [], []
    mailbox = Mailbox(woken.append)

    for number in range(3):
        mailbox.post(lambda number=number: opened.append(number))  # type: ignore[misc]
    assert len(woken) == 1
    woken[0]()
    mailbox.post(lambda: opened.append(3))
    woken[1]()

    assert opened == [0, 1, 2, 3]


def test_nobody_at_home_is_no_error() -> None:
    def wake(function: object) -> None:
        raise RuntimeError("Event loop is closed")

    tell(Mailbox(wake), print)


def test_who_waits_for_a_thread_that_ends_is_told() -> None:
    async def main() -> None:
        thread = LoopThread("jockey-test")
        waiting = asyncio.create_task(thread.call(asyncio.Event().wait))
        await asyncio.sleep(0)
        await thread.stop()
        with pytest.raises(BrokerUnavailableError, match="the broker was closed meanwhile"):
            await waiting

    asyncio.run(main())


def test_cancellation_by_the_library_is_a_lost_connection_and_ours_is_ours() -> None:
    async def cancelled_by(whom: str) -> None:
        with translated():
            if whom == "library":
                raise asyncio.CancelledError
            await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(BrokerUnavailableError, match="was closed"):
            await cancelled_by("library")
        task = asyncio.create_task(cancelled_by("us"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_consumers_are_not_made_anew_for_what_is_just_being_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_intake, "MOMENT", 0)
    renewed: list[int] = []

    async def main(*, is_settled: bool) -> None:
        intake, shelf, deliveries = await _busy_intake()
        monkeypatch.setattr(intake, "_renew", _renewing(shelf, renewed))
        shelf.take(2)

        intake.want()
        if is_settled:
            for delivery in deliveries:
                asyncio.get_running_loop().call_soon(shelf.count, delivery, -1)
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(main(is_settled=True))
    assert not renewed
    asyncio.run(main(is_settled=False))
    assert renewed == [2]


def test_consumers_are_not_made_anew_while_something_is_there_to_be_taken() -> None:
    async def main() -> None:
        _, shelf, deliveries = await _busy_intake()
        shelf.take(2)
        assert not shelf.has_room()

        shelf.put(deliveries[:1])

        assert shelf.has_room()

    asyncio.run(main())


async def _busy_intake() -> tuple[Intake, Shelf, list[RabbitDelivery]]:
    """Return one whose worker may have two deliveries, and has them."""
    shelf, channel = Shelf(), cast("Channel", object())
    thread = SimpleNamespace(spawn=asyncio.ensure_future)
    intake = Intake(
        cast("Any", thread),
        cast("Any", None),
        cast("Any", None),
        shelf,
        ["mail"],
        on_arrival=lambda: None,
        hearing=cast("Any", None),
        worker="w1",
        max_crashes=3,
        clock=lambda: 0.0,
    )
    intake._channel = channel
    shelf.renew(2)
    arrivals = [Arrival(tag, b"", {}, None, None) for tag in (1, 2)]
    deliveries = [delivery_of(arrival, "mail", "mail", channel, shelf.consumers) for arrival in arrivals]
    for delivery in deliveries:
        shelf.count(delivery, 1)
    return intake, shelf, deliveries


def _renewing(shelf: Shelf, renewed: list[int]) -> Callable[[int], Coroutine[None, None, None]]:
    async def renew(allowance: int) -> None:
        renewed.append(allowance)
        shelf.renew(allowance)

    return renew


def test_end_of_what_nobody_waits_for_is_no_error() -> None:
    async def main() -> None:
        ended = asyncio.get_running_loop().create_future()
        ended.cancel()
        _settle(ended, None)
        _settle(ended, BrokerUnavailableError("gone"))

    asyncio.run(main())


class _Underlay:
    """A channel of the client library, whose answers the test gives."""

    number = 1
    is_closed = False

    def __init__(self) -> None:
        self.connection = SimpleNamespace(connection_tune=SimpleNamespace(frame_max=131_072))
        self.closing = asyncio.get_running_loop().create_future()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def basic_get(self, queue: str) -> Any:
        return await self.answer


def test_nothing_that_is_on_its_way_to_us_is_acknowledged_with_what_came_later() -> None:
    sent: list[bytes] = []

    async def main() -> None:
        outlet = SimpleNamespace(is_closing=False, send=sent.extend)
        line = SimpleNamespace(sieve=SimpleNamespace(channels={}), outlet=outlet)
        underlay = _Underlay()
        channel = Channel(cast("Any", underlay), cast("Any", line))
        getting = asyncio.ensure_future(channel.get("mail"))
        await asyncio.sleep(0)

        # The first one is asked for, and comes by the library, which takes longer.
        channel.ack([2, 3])
        properties = Basic.Properties(message_id="job")
        header = SimpleNamespace(properties=properties)
        underlay.answer.set_result(SimpleNamespace(delivery=Basic.GetOk(1), delivery_tag=1, header=header, body=b""))
        await getting
        channel.ack([4, 5])
        channel.ack([1])
        channel.ack([6, 7])

    asyncio.run(main())
    assert sent == [
        *(acknowledged(1, tag) for tag in (2, 3, 4, 5)),
        acknowledged(1, 1, multiple=True),
        acknowledged(1, 7, multiple=True),
    ]


def _table(name: bytes, value: bytes) -> bytes:
    content = bytes([len(name)]) + name + value
    return len(content).to_bytes(4) + content


@pytest.mark.parametrize(
    ("table", "headers"),
    [
        (_table(b"number", b"I\0\0\0\1"), {"number": 1}),
        (_table(b"\xff", b"I\0\0\0\1"), {}),
        (_table(b"text", b"S\0\0\0\1\xff"), {}),
        (_table(b"time", b"T" + (1_700_000_000_000_000).to_bytes(8)), {}),
    ],
    ids=["number", "name", "text", "time"],
)
def test_headers_that_cannot_be_read_or_written_are_left_out(table: bytes, headers: dict[str, Any]) -> None:
    method = bytes([0, 60, 0, 60, 1]) + b"c" + (5).to_bytes(8) + bytes(3)
    arrived: list[list[Arrival]] = []

    async def main() -> None:
        line = SimpleNamespace(sieve=SimpleNamespace(channels={}), outlet=SimpleNamespace(is_closing=False))
        channel = Channel(cast("Any", _Underlay()), cast("Any", line))
        channel._consumers[b"c"] = arrived.append
        channel._on_come([Content(method, table, "job", "task", b"body")])

    asyncio.run(main())
    assert arrived == [[Arrival(5, b"body", headers, "job", "task")]]


def test_who_settles_gets_an_answer_whatever_goes_wrong() -> None:
    error = TypeError("something with a bug")
    answers: list[Any] = []

    class Sender:
        async def ensure(self, queues: object) -> None:
            """Do nothing."""

        async def send(self, parcels: object) -> None:
            raise error

    async def main() -> None:
        intake, _, [delivery, _] = await _busy_intake()
        intake._sender = cast("Any", Sender())
        intake._unsettled[1] = delivery
        intake.settle([Ending(delivery, [Parcel(b"", "mail")])], cast("Any", SimpleNamespace(succeed=answers.extend)))
        await asyncio.wait(intake._work)

    asyncio.run(main())
    assert answers == [error]
