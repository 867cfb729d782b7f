"""Which queues of RabbitMQ make a queue of ours, and how their names and arguments are to be."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from jockey.jobs._errors import UnsupportedError

# Queues with levels of priority are not the same thing in any two series of RabbitMQ, so each priority has a queue. The
# one for normal jobs has the plain name: that is where other programs put theirs.
PRIORITIES: Final = (".high", "", ".low")
RETURNED: Final = ".returned"
"""What was taken and not done comes here, and is taken again before the others of its priority."""

LOST: Final = ".lost"
"""
What was in the hands of a worker that was lost comes here. From here nothing is pushed to workers: each fetches what it
starts at once. So whatever is lost again had been started, and that is what `max_crashes` counts.
"""

DEAD: Final = ".dead"
SUFFIXES: Final = (".high", ".low", RETURNED, LOST, DEAD)

_CHARACTERS: Final = re.compile("[-a-zA-Z0-9_.:@#,/+ ]*")

LONGEST_NAME: Final = 255 - max(map(len, SUFFIXES))
"""In bytes."""

DELIVERY_LIMIT: Final = 100
"""The net below `max_crashes`: from 4.0 on it cannot be left out, and a message beyond it goes to the dead letters."""

NO_LIMIT: Final = 2**31 - 1  # "none" has no spelling that all series know

TICK: Final = 64
"""The shortest delay, and the grain of all of them, in milliseconds."""

LONGEST: Final = TICK << 25
"""Close to what RabbitMQ can count; who waits longer waits several times."""


def check_characters(queue: str) -> None:
    """
    Refuse a name that the client would refuse with an error of its own.

    Raises:
        UnsupportedError: There are other characters in it than the client sends.
    """
    if not _CHARACTERS.fullmatch(queue):
        raise UnsupportedError(
            "on RabbitMQ the name of a queue must have only letters from A to Z, digits, spaces and -_.:@#,/+, "
            f"got {queue!r}"
        )


def check_name(queue: str) -> None:
    """
    Refuse a name that no queue can have.

    Raises:
        UnsupportedError: It cannot.
    """
    check_characters(queue)
    if not queue or len(queue.encode()) > LONGEST_NAME:
        raise UnsupportedError(f"the name of a queue must have 1 to {LONGEST_NAME} bytes on RabbitMQ, got {queue!r}")
    if queue.endswith(SUFFIXES) or queue.startswith("amq."):
        raise UnsupportedError(
            f"the queue {queue!r} has a name that is used otherwise on RabbitMQ: "
            f"it must not begin with 'amq.', nor end with one of {', '.join(SUFFIXES)}"
        )


def pushed_from(queue: str) -> list[str]:
    """Return the names of those that push their jobs to the workers: the returned ones, and then by priority."""
    return [queue + RETURNED, *(queue + suffix for suffix in PRIORITIES)]


def waiting_in(queue: str) -> list[str]:
    """Return the names of all in which jobs of *queue* wait for a worker."""
    return [*pushed_from(queue), queue + LOST]


def place_of(queue: str, priority: int) -> str:
    """Return the name of the one in which jobs of *priority* wait; other programs may use other numbers than ours."""
    return queue + PRIORITIES[min(max(priority, 0), 2)]


def queue_at(place: str) -> str:
    """Return the name of the queue to which *place*, one of RabbitMQ's, belongs."""
    for suffix in SUFFIXES:
        place = place.removesuffix(suffix)
    return place


def work_arguments(queue: str) -> dict[str, Any]:  # AMQP's tables hold nearly anything
    """Return those of the queues in which jobs of *queue* wait: whatever RabbitMQ gives up goes to its dead letters."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue + DEAD,
        **_KEPT_ON_THE_WAY,
    }


def dead_arguments() -> dict[str, Any]:
    """Return those of a queue of dead letters, which may be looked at as often as one likes."""
    return {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}


def bucket_arguments(bucket: int) -> dict[str, Any]:
    """
    Return those of the queue in which all messages stay for *bucket* milliseconds.

    They leave it with the routing key that they came with: it names where they go. All wait equally long, so none
    waits behind another one.
    """
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": NO_LIMIT,
        "x-message-ttl": bucket,
        "x-dead-letter-exchange": "",
        **_KEPT_ON_THE_WAY,
    }


# Else a dead letter, or one whose time has come, is gone if the node ends while it is on its way.
_KEPT_ON_THE_WAY: Final = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def bucket_for(delay: float) -> int | None:
    """
    Return the longest bucket, in milliseconds, that is not longer than *delay* seconds; None if there is no delay.

    Who comes out of it early goes into the next one, as often as the delay has ones in binary.
    """
    ticks = math.ceil(round(delay * 1000, 3) / TICK)
    if ticks <= 0:
        return None
    return min(TICK << (ticks.bit_length() - 1), LONGEST)
