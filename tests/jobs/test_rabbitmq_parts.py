"""The parts of the broker that need no RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from hypothesis import given
from hypothesis import strategies as st

from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs.brokers import rabbitmq_intake
from jockey.jobs.brokers.rabbitmq_client import Arrival, Channel, Parcel, translated
from jockey.jobs.brokers.rabbitmq_frames import DELIVER, GOT, Content, Nothing, acknowledged, asked_for
from jockey.jobs.brokers.rabbitmq_intake import Ending, Intake
from jockey.jobs.brokers.rabbitmq_messages import PRIORITY, RabbitDelivery, delivery_of, identified, removed_of
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


def test_what_begins_while_a_thread_ends_is_ended_too() -> None:
    ended: list[str] = []

    async def wait(then: Callable[[], object]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            then()

    async def main() -> None:
        thread = LoopThread("jockey-test")

        async def begin() -> None:
            thread.spawn(wait(lambda: thread.spawn(wait(lambda: ended.append("last")))))
            await asyncio.sleep(0)  # it has begun

        await thread.call(begin)
        await thread.stop()

    asyncio.run(main())
    assert ended == ["last"]


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


@pytest.mark.parametrize(
    ("place", "headers", "was_taken"),
    [
        ("mail", {}, False),
        ("mail", {"x-delivery-count": 0}, False),
        ("mail.low", {"x-delivery-count": 1}, True),
        ("mail.returned", {}, True),
        ("mail.lost", {}, True),
        ("mail", {"x-delivery-count": "many"}, False),
    ],
)
def test_what_a_worker_had_and_has_no_more_is_known(place: str, headers: dict[str, Any], *, was_taken: bool) -> None:
    arrival = Arrival(1, b'{"name": "send"}', headers, None, None)

    removed = removed_of(arrival, "mail", place)

    assert removed.was_taken is was_taken
    assert removed.message is not None
    assert removed.message.name == "send"


@pytest.mark.parametrize(
    ("body", "id_", "is_given"),
    [
        (b'{"name": "send"}', None, True),
        (b'{"name": "send"}', "", True),
        (b'{"name": "send"}', "amqp", False),
        (b'{"name": "send", "id": "own"}', None, False),
        (b"{nonsense", None, False),
    ],
)
def test_an_id_is_given_to_what_has_none(body: bytes, id_: str | None, *, is_given: bool) -> None:
    parcel = identified(delivery_of(Arrival(1, body, {}, id_, None), "mail", "mail.high", cast("Any", None), 1))

    assert (parcel is not None) is is_given
    if parcel is not None:
        assert parcel.id
        assert (parcel.body, parcel.place, parcel.headers[PRIORITY]) == (body, "mail.returned", 0)


@pytest.mark.parametrize(
    ("body", "id_"), [(b'{"name": "send"}', "amqp"), (b'{"name": "send", "id": "own"}', "own"), (b"{nonsense", None)]
)
def test_a_delivery_has_the_id_of_its_body_or_else_that_of_amqp(body: bytes, id_: str | None) -> None:
    delivery = delivery_of(Arrival(1, body, {}, "amqp", None), "mail", "mail", cast("Any", None), 1)

    assert (delivery.message and delivery.message.id) == id_


def test_who_asks_a_delivery_twice_hears_of_the_same_job() -> None:
    delivery = delivery_of(Arrival(1, b'{"name": "send"}', {}, None, None), "mail", "mail", cast("Any", None), 1)

    assert delivery.message is delivery.message is not None


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
        self.closing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


def _channel(sent: list[bytes]) -> tuple[Channel, _Underlay]:
    outlet = SimpleNamespace(is_closing=False, send=sent.extend, write=sent.extend)
    underlay = _Underlay()
    line = SimpleNamespace(sieve=SimpleNamespace(channels={}), outlet=outlet)
    return Channel(cast("Any", underlay), cast("Any", line)), underlay


def _got(tag: int, table: bytes = b"") -> Content:
    return Content(GOT + tag.to_bytes(8), table, "job", "task", b"body")


def test_nothing_that_was_asked_for_is_acknowledged_with_what_came_later() -> None:
    sent: list[bytes] = []

    async def main() -> None:
        channel, _ = _channel(sent)
        getting = asyncio.ensure_future(channel.get("mail"))
        await asyncio.sleep(0)
        sent.clear()
        channel._on_come([_got(1)])
        assert (await getting) == Arrival(1, b"body", {}, "job", "task")

        channel.ack([2, 3])
        channel.ack([1])
        channel.ack([4, 5])

    asyncio.run(main())
    assert sent == [
        acknowledged(1, 2),
        acknowledged(1, 3),
        acknowledged(1, 1, multiple=True),
        acknowledged(1, 5, multiple=True),
    ]


def test_who_asks_is_answered_in_order_also_if_somebody_gives_up() -> None:
    async def main() -> None:
        sent: list[bytes] = []
        channel, underlay = _channel(sent)
        first, second, third, last = (asyncio.ensure_future(channel.get("mail")) for _ in range(4))
        await asyncio.sleep(0)
        assert sent == [asked_for(1, "mail")] * 4
        second.cancel()
        await asyncio.sleep(0)

        channel._on_come([_got(1), _got(2), Nothing()])
        assert ((await first), (await third)) == (Arrival(1, b"body", {}, "job", "task"), None)

        refused = asyncio.ensure_future(channel.get("mail"))
        await asyncio.sleep(0)
        refused.cancel()
        await asyncio.sleep(0)
        underlay.closing.set_exception(ChannelNotFoundEntity("no queue 'mail'"))
        with pytest.raises(QueueNotDeclaredError, match="there is no queue 'mail'"):
            await last

    asyncio.run(main())


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
    method = DELIVER + b"\1c" + (5).to_bytes(8) + bytes(3)
    arrived: list[list[Arrival]] = []

    async def main() -> None:
        channel, _ = _channel([])
        channel._consumers[b"c"] = arrived.append
        channel._on_come([Content(method, table, "job", "task", b"body")])
        getting = asyncio.ensure_future(channel.get("mail"))
        await asyncio.sleep(0)
        channel._on_come([_got(6, table)])
        assert await getting == Arrival(6, b"body", headers, "job", "task")

    asyncio.run(main())
    assert arrived == [[Arrival(5, b"body", headers, "job", "task")]]


def test_what_has_become_safe_is_acknowledged_together_and_each_has_its_own_fate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rabbitmq_intake, "FIRST_PAUSE", 0)
    refusal, away = TypeError("no"), BrokerUnavailableError("away")
    errors = {"b": [refusal], "c": [away]}
    acked: list[list[int]] = []
    answers: list[Any] = []

    class Acking:
        def ack(self, tags: list[int]) -> None:
            acked.append(sorted(tags))

    class Sender:
        async def ensure(self, queues: object) -> None:
            """Do nothing."""

        async def send(self, parcels: list[Parcel]) -> None:
            for error in errors.pop(parcels[0].place, []):
                raise error

    async def main() -> None:
        intake, _, _ = await _busy_intake()
        intake._sender = cast("Any", Sender())
        channel = cast("Channel", Acking())
        arrivals = [Arrival(tag, b"", {}, None, None) for tag in range(4)]
        deliveries = [delivery_of(arrival, "mail", "mail", channel, 1) for arrival in arrivals]
        intake._unsettled = dict(enumerate(deliveries))
        endings = [Ending(delivery, [Parcel(b"", place)]) for delivery, place in zip(deliveries, "abcd", strict=True)]
        intake.settle(endings, cast("Any", SimpleNamespace(succeed=answers.extend)))
        await asyncio.wait(intake._work)

    asyncio.run(main())
    assert answers == [True, refusal, True, True]
    assert acked == [[0, 3], [2]]


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
