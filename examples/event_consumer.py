"""
Consume events from a source in memory, no server needed.

Shows back-pressure: an event is taken from the source only when there is a slot for its job. Shows groups: the events
of one account are handled in order and one at a time, though the handler reads, waits and writes; accounts go side by
side. And shows pulses: while a slow handler runs, its event is claimed anew, so that nobody else gets it.

    pip install jockey
    python examples/event_consumer.py
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio

import jockey

MAX_JOBS = 4


@dataclass(frozen=True)
class Event:
    """Something that happened on an account; what handlers are called with."""

    kind: str
    account: str
    amount: int = 0


class Source:
    """What a broker would be: it hands out events and hears what becomes of them."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.open = 0
        self.most_open = 0
        self.claims = 0

    async def __aiter__(self) -> AsyncIterator[Event]:
        for event in self.events:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            yield event

    def claim(self) -> None:
        """Hear that an event is still being worked on."""
        self.claims += 1

    def settle(self) -> None:
        """Hear that an event needs no more attention."""
        self.open -= 1


@dataclass
class Delivery(jockey.Adapter[Event, str, None]):
    """An event on its way from the source to its handler."""

    source: Source
    event: Event

    def get_keys(self) -> Iterator[str]:
        yield self.event.kind

    def get_group(self) -> str:
        return self.event.account

    async def get_payload(self) -> Event:
        return self.event

    async def on_pulse(self) -> None:
        self.source.claim()

    async def on_success(self, result: None) -> None:
        self.source.settle()

    async def on_failure(self, exc: Exception) -> None:
        print(f"{self.event} failed: {exc!r}")
        self.source.settle()

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        print(f"{self.event} was cancelled: {exc}")


registry = jockey.Registry[Event, str, None]()
journals: dict[str, list[int]] = {}


@registry.add("deposit")
async def deposit(event: Event) -> None:
    journal = journals.get(event.account, [])
    await anyio.sleep(0.01)
    # Had the same account been written meanwhile, this would undo it.
    journals[event.account] = [*journal, event.amount]


@registry.add("audit", pulse_every=0.1)
async def audit(_event: Event) -> None:
    await anyio.sleep(1)


async def main() -> None:
    deposits = [Event("deposit", account, amount) for amount in range(1, 6) for account in ("red", "green", "blue")]
    source = Source([Event("audit", "bank"), *deposits])
    async with jockey.Executor(registry, max_jobs=MAX_JOBS).run() as executor:
        await executor.consume(Delivery(source, event) async for event in source)
    for account, journal in journals.items():
        print(f"{account}: {journal}")
    print(f"events in hand: {source.open}, at most {source.most_open}")
    print(f"claimed again while in work: {source.claims > 0}")


if __name__ == "__main__":
    anyio.run(main)
