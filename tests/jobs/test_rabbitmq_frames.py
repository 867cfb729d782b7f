"""The frames that are ours: written and read as the client library would, whatever comes between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from jockey.jobs._errors import BrokerUnavailableError, UnsupportedError
from jockey.jobs.brokers.rabbitmq_confirms import Batch, Confirms
from jockey.jobs.brokers.rabbitmq_frames import (
    EMPTY_TABLE,
    HEARTBEAT,
    ChannelFrames,
    Confirmation,
    Content,
    Nothing,
    acknowledged,
    asked_for,
    published,
    written_properties,
)
from jockey.jobs.brokers.rabbitmq_stream import Outlet, Sieve

names = st.text(max_size=60).filter(lambda text: len(text.encode()) < 256)


def library(data: bytes) -> list[Any]:
    """Return what the client library reads."""
    frames = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        frames.append((channel, frame))
        data = data[size:]
    return frames


@given(names, names, names, st.none() | names, st.binary(max_size=50))
def test_library_reads_what_is_published(exchange: str, place: str, id_: str, name: str | None, body: bytes) -> None:
    properties = written_properties(EMPTY_TABLE, id_, name)

    (_, method), (_, header), *parts = library(published(7, exchange, place, properties, body, longest=20))

    assert (method.exchange, method.routing_key, method.mandatory) == (exchange, place, True)
    assert (header.body_size, header.properties.delivery_mode) == (len(body), 2)
    assert (header.properties.message_id, header.properties.message_type) == (id_, name)
    assert header.properties.content_type == "application/json"
    assert b"".join(part.value for _, part in parts) == body
    assert all(len(part.value) <= 20 for _, part in parts)


def test_name_that_amqp_cannot_carry_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="at most 255 bytes, got 256"):
        written_properties(EMPTY_TABLE, "x" * 256, None)


@pytest.mark.parametrize("multiple", [True, False])
def test_library_reads_what_is_acknowledged(*, multiple: bool) -> None:
    [(channel, ack)] = library(acknowledged(3, 2**40, multiple=multiple))

    assert (channel, ack.name, ack.delivery_tag, ack.multiple) == (3, "Basic.Ack", 2**40, multiple)


def test_library_reads_what_is_asked_for() -> None:
    [(channel, get)] = library(asked_for(3, "mail"))

    assert (channel, get.name, get.queue, get.no_ack) == (3, "Basic.Get", "mail", False)


def message(body: bytes, *, longest: int = 10, **properties: Any) -> list[bytes]:
    """Return the frames of a message that is delivered, from the client library."""
    deliver = commands.Basic.Deliver(consumer_tag="jockey.1", delivery_tag=5, exchange="", routing_key="mail")
    header = ContentHeader(body_size=len(body), properties=commands.Basic.Properties(**properties))
    parts = [ContentBody(body[at : at + longest]) for at in range(0, len(body), longest)]
    return [pamqp.frame.marshal(each, 1) for each in [deliver, header, *parts]]


PROPERTIES = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"x": 1},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "job-1",
    "message_type": "task",
    "user_id": "guest",
    "app_id": "app",
}


@given(st.sets(st.sampled_from(sorted(PROPERTIES))), st.binary(max_size=40))
def test_what_the_library_sends_is_read(chosen: set[str], body: bytes) -> None:
    come: list[Any] = []
    frames = ChannelFrames(come.extend)

    for frame in message(body, **{name: PROPERTIES[name] for name in chosen}):
        assert frames.take(frame[0], frame[7:-1])
    frames.hand_out()

    [content] = come
    assert content.delivered() == (b"jockey.1", 5)
    assert (content.body, content.is_returned) == (body, False)
    assert content.id == ("job-1" if "message_id" in chosen else None)
    assert content.name == ("task" if "message_type" in chosen else None)
    assert bool(content.table.strip(b"\0")) == ("headers" in chosen)


def test_text_that_is_none_is_no_reason_to_end_the_connection() -> None:
    come: list[Any] = []
    frames = ChannelFrames(come.extend)

    for frame in message(b"", message_id="job"):
        spoilt = frame.replace(b"\x03job", b"\x03\xffob")
        frames.take(spoilt[0], spoilt[7:-1])
    frames.hand_out()

    assert come[0].id == "\N{REPLACEMENT CHARACTER}ob"


RETURNED = pamqp.frame.marshal(commands.Basic.Return(312, "NO_ROUTE", "", "mail"), 1)
CONFIRMED = pamqp.frame.marshal(commands.Basic.Ack(delivery_tag=1, multiple=True), 1)
OTHER = pamqp.frame.marshal(commands.Basic.QosOk(), 1)
GOT = pamqp.frame.marshal(commands.Basic.GetOk(delivery_tag=9, exchange="", routing_key="mail", message_count=0), 1)
EMPTY = pamqp.frame.marshal(commands.Basic.GetEmpty(), 1)
CLOSED = pamqp.frame.marshal(commands.Channel.Close(reply_code=404, reply_text="", class_id=0, method_id=0), 1)


def in_a_loop(test: Callable[[Sieve, list[Any]], None]) -> None:
    async def run() -> None:
        sieve, come = Sieve(), list[Any]()
        sieve.channels[1] = ChannelFrames(come.extend)
        test(sieve, come)

    asyncio.run(run())


def rest(sieve: Sieve) -> bytes:
    return bytes(sieve._buffer)  # type: ignore[attr-defined]


@given(st.integers(min_value=1, max_value=80))
def test_each_frame_goes_to_whom_it_is_for_however_the_bytes_come(size: int) -> None:
    content = message(b"hello world", message_id="job")[1:]
    data = b"".join([*message(b"hello world"), OTHER, RETURNED, *content, CONFIRMED, GOT, *content, EMPTY, CLOSED])

    def test(sieve: Sieve, come: list[Any]) -> None:
        for at in range(0, len(data), size):
            sieve.feed_data(data[at : at + size])

        delivered, returned, confirmed, got, nothing = come
        assert isinstance(delivered, Content)
        assert delivered.body == b"hello world"
        assert (returned.is_returned, returned.place(), returned.id) == (True, "mail", "job")
        assert confirmed == Confirmation(1, multiple=True, is_done=True)
        assert (got.is_asked_for, got.got(), got.body) == (True, 9, b"hello world")
        assert not any(other.is_asked_for for other in (delivered, returned))
        assert isinstance(nothing, Nothing)
        assert rest(sieve).replace(HEARTBEAT, b"") == b"".join([OTHER, CLOSED])
        assert sieve.channels[1].is_closing

    in_a_loop(test)


def test_library_hears_that_rabbitmq_is_there_while_all_that_comes_is_ours() -> None:
    def test(sieve: Sieve, come: list[Any]) -> None:
        for _ in range(3):
            sieve.feed_data(b"".join(message(b"x")))

        assert len(come) == 3
        assert rest(sieve) == HEARTBEAT

    in_a_loop(test)


@pytest.mark.parametrize("garbage", [b"AMQP\x00\x00\x09\x01", OTHER[:-1] + b"?" + OTHER])
def test_library_sees_what_is_no_amqp(garbage: bytes) -> None:
    def test(sieve: Sieve, come: list[Any]) -> None:
        sieve.feed_data(garbage)

        assert not come
        assert rest(sieve) == garbage

    in_a_loop(test)


def test_what_is_written_in_one_turn_is_sent_at_once_and_nothing_to_who_has_left() -> None:
    class Transport:
        def __init__(self) -> None:
            self.sent: list[bytes] = []
            self.is_gone = False

        def write(self, data: bytes) -> None:
            self.sent.append(data)

        def is_closing(self) -> bool:
            return self.is_gone

    async def main() -> None:
        transport: Any = Transport()
        outlet = Outlet(transport)
        outlet.write([b"a", b"b"])
        outlet.write([b"c"])
        await asyncio.sleep(0)
        outlet.write([b"d"])
        outlet.send([b"e"])
        transport.is_gone = True
        outlet.send([b"f"])
        await asyncio.sleep(0)

        assert transport.sent == [b"abc", b"de"]

    asyncio.run(main())


def expected(confirms: Confirms, *sizes: int) -> list[Any]:
    """Publish so many messages in each batch, to one place; return where the ends are noted."""
    ends: list[Any] = []
    for number, size in enumerate(sizes):
        batch = Batch(size, lambda error, number=number: ends.append((number, error)))  # type: ignore[misc]
        for place in range(size):
            confirms.expect(f"{number}.{place}", "mail", batch)
    return ends


def test_batch_has_ended_when_all_of_it_is_confirmed() -> None:
    confirms = Confirms()
    ends = expected(confirms, 2, 2, 1)

    confirms.settle(1, multiple=False, error=None)
    assert not ends
    confirms.settle(3, multiple=True, error=None)
    confirms.settle(3, multiple=True, error=None)
    assert ends == [(0, None)]
    confirms.settle(5, multiple=True, error=None)

    assert ends == [(0, None), (1, None), (2, None)]


def test_first_error_is_that_of_the_batch_and_no_other_one() -> None:
    refused, away, gone = (BrokerUnavailableError(text) for text in ("refused", "away", "gone"))
    confirms = Confirms()
    ends = expected(confirms, 2, 1, 1)

    confirms.give_up("0.1", "mail", refused)
    confirms.give_up("0.1", "mail", refused)
    confirms.settle(2, multiple=False, error=None)
    confirms.settle(1, multiple=False, error=away)
    confirms.settle(3, multiple=False, error=None)
    confirms.end(gone)

    assert ends == [(0, refused), (1, None), (2, gone)]
