"""From what jobs are to what travels, and back: which parcels a settlement needs, and what a dead letter tells."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from jockey.jobs import _codec
from jockey.jobs._broker import Died, Record, Released, Retried, Settlement, Succeeded
from jockey.jobs._carrier import Removed
from jockey.jobs._errors import DecodeError, UnsupportedError
from jockey.jobs._ids import new_id
from jockey.jobs._message import Message, Trouble
from jockey.jobs._state import State
from jockey.jobs.brokers.rabbitmq_client import Arrival, Channel, Parcel
from jockey.jobs.brokers.rabbitmq_topology import DEAD, LOST, PRIORITIES, RETURNED, place_of

CRASHES: Final = "jockey-crashes"
IN_DOUBT: Final = "jockey-in-doubt"
"""Whether one of the crashes may have been none: nobody knows whether the worker had started the job."""

PRIORITY: Final = "jockey-priority"
NOT_BEFORE: Final = "jockey-not-before"
"""In milliseconds since the epoch: numbers with a fraction are not the same thing to all clients."""

ERROR: Final = "jockey-error"
DIED_AT: Final = "jockey-died-at"
"""In microseconds since the epoch."""

# RabbitMQ's own notes of one way through its queues: they do not hold for the next one, and `x-death` lets it drop what
# comes to the same queue again.
DELIVERIES: Final = "x-delivery-count"
OF_ONE_WAY: Final = ("x-death", "x-first-death-", "x-last-death-", DELIVERIES, "x-acquired-count")

FETCHED: Final = -1
"""Instead of a number of consumers."""

LARGEST: Final = 16 * 1024 * 1024 - 1024
"""In bytes: what RabbitMQ takes from 4.0 on."""

LONGEST_ERROR: Final = 16_000
"""In characters; all headers of a message must fit into one frame of AMQP."""


@dataclass(eq=False, slots=True)
class RabbitDelivery:
    """
    A message in the hands of a source.

    Attributes:
        place: The queue of RabbitMQ that it came from.
        priority: The value of a `jockey.Priority`.
        channel: Only there it can be settled.
        consumers: Which ones of that channel: they have been renewed that many times; `FETCHED` if it was none.
        is_in_doubt: Whether one of *crashes* may have been none.
        is_settled: Whether somebody settles it, or has.
    """

    body: bytes
    queue: str
    crashes: int
    arrival: Arrival
    place: str
    priority: int
    channel: Channel
    consumers: int
    is_in_doubt: bool
    is_settled: bool = field(default=False)
    _message: Message | None = field(default=None, init=False)

    @property
    def message(self) -> Message | None:
        """What it says, with one id whoever asks; None if nobody can read it."""
        if self._message is None:
            self._message = read(self.arrival, self.queue)
        return self._message

    @property
    def is_fetched(self) -> bool:
        """Whether it was not pushed, but fetched to be started at once."""
        return self.consumers == FETCHED

    def has_crashed(self, most: int) -> bool:
        """Tell whether so many workers were lost with it; one at least has started it for sure."""
        return self.crashes >= max(most, 1 + self.is_in_doubt)


def delivery_of(arrival: Arrival, queue: str, place: str, channel: Channel, consumers: int) -> RabbitDelivery:
    """Return what has come from *place*, one of the queues of RabbitMQ that make *queue*."""
    crashes, is_in_doubt = crashes_of(arrival, place)
    return RabbitDelivery(
        body=arrival.body,
        queue=queue,
        crashes=crashes,
        arrival=arrival,
        place=place,
        priority=_priority_of(arrival, queue, place),
        channel=channel,
        consumers=consumers,
        is_in_doubt=is_in_doubt,
    )


def crashes_of(arrival: Arrival, place: str) -> tuple[int, bool]:
    """
    Return how many workers were lost with it, and whether that may be one too many.

    RabbitMQ counts what comes back, started or not: what a lost worker had not got to yet, and what was on its way to a
    consumer that was cancelled. So the first time is in doubt. From then on it is fetched just to be started, which
    makes RabbitMQ's count the right one. What is put back in good order is a new message, which RabbitMQ counts anew.
    """
    noted, lost = _number(arrival.headers, CRASHES), _number(arrival.headers, DELIVERIES)
    if place.endswith(LOST):
        return noted + lost, IN_DOUBT in arrival.headers
    if lost and not noted:
        return 1, True
    return noted, IN_DOUBT in arrival.headers


def not_before_of(arrival: Arrival) -> float:
    """Return its time in seconds since the epoch; 0 is at once."""
    return _number(arrival.headers, NOT_BEFORE) / 1000


def _priority_of(arrival: Arrival, queue: str, place: str) -> int:
    if place in (queue + RETURNED, queue + LOST):
        return _number(arrival.headers, PRIORITY, 1)
    return PRIORITIES.index(place.removeprefix(queue))


def _number(headers: Any, name: str, default: int = 0) -> int:  # what other programs have sent
    value = headers.get(name)
    return value if isinstance(value, int) else default


def parcel_of(message: Message, *, not_before: float | None = None) -> Parcel:
    """Return a new job, as it travels."""
    when = message.not_before if not_before is None else not_before
    headers: dict[str, Any] = {NOT_BEFORE: math.ceil(when * 1000)} if when else {}
    place = place_of(message.queue, message.priority)
    return Parcel(_body_of(message), place, headers, when, message.id, message.name)


def _body_of(message: Message) -> bytes:
    body = _codec.encode(message)
    if len(body) > LARGEST:
        raise UnsupportedError(
            f"the job {message.id!r} has {len(body)} bytes, RabbitMQ takes at most {LARGEST}: "
            f"put what is large elsewhere, and enqueue where it is"
        )
    return body


def copy_of(delivery: RabbitDelivery, place: str, *, not_before: float = 0.0) -> Parcel:
    """Return the same message once more, with what we know of it and without what RabbitMQ noted."""
    arrival = delivery.arrival
    headers = {name: value for name, value in arrival.headers.items() if not name.startswith(OF_ONE_WAY)}
    if not not_before:
        headers.pop(NOT_BEFORE, None)
    headers |= {CRASHES: delivery.crashes, PRIORITY: delivery.priority}
    if delivery.is_in_doubt:
        headers[IN_DOUBT] = True
    return Parcel(arrival.body, place, headers, not_before, arrival.id, arrival.name)


def given_back(delivery: RabbitDelivery, *, not_before: float = 0.0) -> Parcel:
    """Return what puts it back in good order: it goes before the others, and no crash is counted."""
    place = delivery.queue + (LOST if delivery.crashes else RETURNED)
    return copy_of(delivery, place, not_before=not_before)


def identified(delivery: RabbitDelivery) -> Parcel | None:
    """Return what puts it back with an id of its own; None if it has one already, or nobody can read it."""
    if delivery.arrival.id:
        return None
    id_ = new_id()
    message = read(delivery.arrival._replace(id=id_), delivery.queue)
    return replace(given_back(delivery), id=id_) if message is not None and message.id == id_ else None


def error_headers(error: Trouble, now: float) -> dict[str, Any]:
    """Return why it is dead, short enough."""
    short = msgspec.structs.replace(
        error, message=error.message[:LONGEST_ERROR], traceback=error.traceback[-LONGEST_ERROR:]
    )
    return {ERROR: msgspec.json.encode(short).decode(), DIED_AT: int(now * 1e6)}


def parcels_of(delivery: RabbitDelivery, settlement: Settlement, now: float) -> list[Parcel]:
    """Return all that must be safe before *delivery* may be acknowledged."""
    match settlement:
        case Succeeded(successors=successors):
            return [parcel_of(message) for message in successors]
        case Retried(message=message, delay=delay):
            return [parcel_of(message, not_before=now + delay if delay > 0 else 0.0)]
        case Died(error=error, message=message, successors=successors):
            return [*(parcel_of(successor) for successor in successors), dead_letter(delivery, error, message, now=now)]
        case Released():
            return [given_back(delivery)]
        case _:
            return []


def dead_letter(delivery: RabbitDelivery, error: Trouble, message: Message | None = None, *, now: float) -> Parcel:
    """Return what goes to the dead letters: *message*, or else what travelled."""
    same = copy_of(delivery, delivery.queue + DEAD)
    headers = same.headers | error_headers(error, now)
    if message is None:
        return replace(same, headers=headers)
    return replace(same, headers=headers, body=_body_of(message), id=message.id, name=message.name)


def id_of(arrival: Arrival) -> str:
    """Return what a dead letter is called: its job's id or, if nobody has told it, something made of what it says."""
    return arrival.id or hashlib.sha256(arrival.body).hexdigest()[:32]


def replayed(arrival: Arrival, queue: str) -> Parcel:
    """Return a dead letter as a new job, with no tries and no crashes spent; what cannot be read stays as it is."""
    message = read(arrival, queue)
    if message is None:
        return Parcel(arrival.body, queue, {}, 0.0, arrival.id, arrival.name)
    fresh = msgspec.structs.replace(message, id=id_of(arrival), queue=queue, attempt=0, not_before=0.0)
    return parcel_of(fresh)


def removed_of(arrival: Arrival, queue: str, place: str) -> Removed:
    """Return what is told of what was taken out of *place*, one of the queues of RabbitMQ that make *queue*."""
    was_taken = place in (queue + RETURNED, queue + LOST) or _number(arrival.headers, DELIVERIES) > 0
    return Removed(read(arrival, queue), was_taken)


def record_of(arrival: Arrival, queue: str, crashes: int) -> Record:
    """Return what is known of a job that waits."""
    message = read(arrival, queue)
    return Record(
        id=id_of(arrival),
        name=arrival.name or (message.name if message else ""),
        queue=queue,
        state=State.FAILED if message and message.attempt else State.QUEUED,
        message=message,
        enqueued_at=message.enqueued_at if message else 0.0,
        not_before=not_before_of(arrival),
        attempt=message.attempt if message else 0,
        crashes=crashes,
        error=message.troubles[-1] if message and message.troubles else None,
        body=None if message else arrival.body,
    )


def dead_record_of(arrival: Arrival, queue: str) -> Record:
    """Return what is known of a dead letter."""
    # What RabbitMQ counts here is how often somebody has looked at it.
    record = record_of(arrival, queue, _number(arrival.headers, CRASHES))
    return replace(record, state=State.DEAD, error=reason_of(arrival), finished_at=died_at(arrival))


def died_at(arrival: Arrival) -> float:
    """Return when, in seconds since the epoch; RabbitMQ notes it for those that it has given up itself."""
    try:
        return float(arrival.headers["x-death"][0]["time"].timestamp())
    except (LookupError, TypeError, AttributeError):
        return _number(arrival.headers, DIED_AT) / 1e6


def read(arrival: Arrival, queue: str) -> Message | None:
    """Return what travelled; None if nobody can read it. A body without an id has that of AMQP, or else a new one."""
    try:
        return _codec.decode(arrival.body, queue, id=arrival.id)
    except DecodeError:
        return None


def reason_of(arrival: Arrival) -> Trouble:
    """Return why it is dead; RabbitMQ itself leaves only a word, such as "delivery_limit"."""
    try:
        return msgspec.json.decode(arrival.headers.get(ERROR, ""), type=Trouble)
    except (msgspec.DecodeError, TypeError):
        return Trouble(message=f"RabbitMQ gave it up: {arrival.headers.get('x-first-death-reason', 'no reason told')}")
