"""What carries the jobs: one module for each kind of broker, imported when a URL asks for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jockey.jobs._errors import UnsupportedError
from jockey.jobs.brokers._urls import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from jockey.jobs._broker import Broker


def connect(url: str, *, clock: Callable[[], float] = time.time) -> Broker:
    """
    Return the broker that *url* names; it is opened by `Broker.open`.

    Args:
        url:
            ``memory://``, ``sqlite:///jobs.db`` (a path from here; ``sqlite:////var/lib/jobs.db`` is one from the
            root) or ``amqp://user:password@host:5672/``.
        clock: Seconds since the epoch, for the brokers that keep the time themselves; RabbitMQ has its own.

    Raises:
        UnsupportedError: There is no such scheme, or no such option, or the URL cannot be read.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "memory":
        return _memory(url, clock)
    if scheme == "sqlite":
        from jockey.jobs.brokers.sqlite import SqliteBroker  # noqa: PLC0415 - brokers are imported when asked for

        return SqliteBroker.from_url(url, clock=clock)
    if scheme in {"amqp", "amqps"}:
        from jockey.jobs.brokers.rabbitmq import RabbitBroker  # noqa: PLC0415 - as above

        return RabbitBroker(url)
    raise UnsupportedError(f"the URL of a broker must begin with memory:, sqlite: or amqp(s):, got {shown(url)}")


def _memory(url: str, clock: Callable[[], float]) -> Broker:
    from jockey.jobs.brokers.memory import MemoryBroker  # noqa: PLC0415 - as above

    if url.removeprefix("memory:").strip("/"):
        raise UnsupportedError(f"a broker in memory has no name and no options, got {url!r}; use 'memory://'")
    return MemoryBroker(clock=clock)
