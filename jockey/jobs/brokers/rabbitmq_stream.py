"""The two ends of a socket to RabbitMQ which we share with the client library, that does not know of us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, SupportsIndex

from jockey.jobs.brokers.rabbitmq_frames import AROUND, END, HEAD, HEARTBEAT, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jockey.jobs.brokers.rabbitmq_frames import ChannelFrames

SIGN_OF_LIFE: Final = 0.5
"""Seconds between two heartbeats that are made up for the library while nothing is left for it to read."""


class Sieve(asyncio.StreamReader):
    """
    Gives each frame to whom it is for.

    Attributes:
        channels: Takes what is ours out of the channels of these numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels: dict[int, ChannelFrames] = {}
        self._incomplete = b""
        self._signed_at = 0.0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take what has come; the transport calls it."""
        rest, is_ours = self._sift(self._incomplete + bytes(data))
        if rest:
            super().feed_data(rest)
        elif is_ours:
            self._sign()
        for frames in list(self.channels.values()):
            frames.hand_out()

    def _sift(self, data: bytes) -> tuple[bytes, bool]:
        """Hand out what is ours; return the rest, as far as it is complete, and whether anything was ours."""
        others: list[bytes] = []
        at = number = 0
        while len(data) - at >= HEAD.size:
            kind, channel, size = HEAD.unpack_from(data, at)
            after = at + AROUND + size
            if kind not in KINDS or (after <= len(data) and data[after - 1] != END):
                # No AMQP as we know it. The library shall see it, and end the connection.
                self.channels.clear()
                after = len(data)
            if after > len(data):
                break
            frames = self.channels.get(channel)
            if frames is None or not frames.take(kind, data[at + HEAD.size : after - 1]):
                others.append(data[at:after])
            at = after
            number += 1
        self._incomplete = data[at:]
        return b"".join(others), number > len(others)

    def _sign(self) -> None:
        """Tell the library that RabbitMQ is there: it sends no heartbeats while it sends something else."""
        now = asyncio.get_running_loop().time()
        if now - self._signed_at > SIGN_OF_LIFE:
            self._signed_at = now
            super().feed_data(HEARTBEAT)


class Outlet:
    """
    Sends frames, and what is written in one turn of the event loop at once: each call of the system costs more than it.

    The library writes whole frames too, so the two do not get in each other's way.
    """

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._frames: list[bytes] = []

    @property
    def is_closing(self) -> bool:
        """Whether nothing is sent any more."""
        return self._transport.is_closing()

    def write(self, frames: Iterable[bytes]) -> None:
        """Send *frames* soon."""
        if not self._frames:
            asyncio.get_running_loop().call_soon(self.flush)
        self._frames += frames

    def send(self, frames: Iterable[bytes]) -> None:
        """Send *frames* now, and all that was written before."""
        self._frames += frames
        self.flush()

    def flush(self) -> None:
        """Send now what was written."""
        frames, self._frames = self._frames, []
        if frames and not self._transport.is_closing():
            self._transport.write(b"".join(frames))
