"""
PURE: the bytes of AMQP for what comes and goes with each job.

The client library does all else: it makes objects of each frame and awaits each of them in several tasks, which costs
more than all the rest of a job.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from jockey.jobs._errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
BEAT: Final = 8
KINDS: Final = frozenset({METHOD, HEADER, BODY, BEAT})

HEAD: Final = Struct(">BHI")
"""Before each frame: its kind, its channel, and the size of what is between this and its end."""

END: Final = 0xCE
AROUND: Final = HEAD.size + 1
"""What a frame has besides its content, in bytes."""

HEARTBEAT: Final = HEAD.pack(BEAT, 0, 0) + bytes([END])

PUBLISH: Final = bytes([0, 60, 0, 40])
RETURN: Final = bytes([0, 60, 0, 50])
DELIVER: Final = bytes([0, 60, 0, 60])
GET: Final = bytes([0, 60, 0, 70])
GOT: Final = bytes([0, 60, 0, 71])
NOTHING: Final = bytes([0, 60, 0, 72])
CLOSE: Final = bytes([0, 20, 0, 40])
ACK: Final = bytes([0, 60, 0, 80])
NACK: Final = bytes([0, 60, 0, 120])

EMPTY_TABLE: Final = bytes(4)

_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _ID, _NAME = (1 << bit for bit in (15, 13, 12, 7, 5))
_SHORT_STRING, _TABLE = 0, -1
_WIDTHS: Final = (
    *((1 << bit, _SHORT_STRING) for bit in (15, 14)),
    (_HEADERS, _TABLE),
    *((1 << bit, 1) for bit in (12, 11)),
    *((1 << bit, _SHORT_STRING) for bit in (10, 9, 8, 7)),
    (1 << 6, 8),
    (_NAME, _SHORT_STRING),
)
"""The properties in their order, as far as we read them, each with its flag and its width in bytes."""

_LENGTH: Final = Struct(">I")
_NUMBER: Final = Struct(">Q")
_SETTLED: Final = Struct(">QB")
_LONGEST_STRING: Final = 255
_JSON: Final = b"\x10application/json"
_PERSISTENT: Final = b"\x02"
_MANDATORY: Final = b"\x01"


def frame(kind: int, channel: int, content: bytes) -> bytes:
    """Return one frame."""
    return b"%b%b\xce" % (HEAD.pack(kind, channel, len(content)), content)


def short(text: str) -> bytes:
    """
    Return a short string.

    Raises:
        UnsupportedError: It is not short.
    """
    encoded = text.encode()
    if len(encoded) > _LONGEST_STRING:
        raise UnsupportedError(
            f"RabbitMQ takes names and ids of at most {_LONGEST_STRING} bytes, got {len(encoded)}: {text!r}"
        )
    return b"%c%b" % (len(encoded), encoded)


def written_properties(table: bytes, id_: str, name: str | None) -> bytes:
    """
    Return the properties of a message that is to be published, which is persistent; *table* has its headers, encoded.

    Raises:
        UnsupportedError: A name is too long for AMQP.
    """
    flags = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _ID | (0 if name is None else _NAME)
    return b"".join((flags.to_bytes(2), _JSON, table, _PERSISTENT, short(id_), b"" if name is None else short(name)))


def published(channel: int, exchange: str, place: str, properties: bytes, body: bytes, *, longest: int) -> bytes:
    """
    Return a message that is to be published, and to be returned if no queue gets it.

    Args:
        channel: The number of the channel.
        exchange: Its name; nothing is the one that gives to the queue that is named by *place*.
        place: The routing key.
        properties: See `written_properties`.
        body: The message.
        longest: What a frame may have between its head and its end, in bytes.

    Raises:
        UnsupportedError: A name is too long for AMQP.
    """
    frames = [
        frame(METHOD, channel, b"".join((PUBLISH, b"\0\0", short(exchange), short(place), _MANDATORY))),
        frame(HEADER, channel, b"".join((b"\0\x3c\0\0", _NUMBER.pack(len(body)), properties))),
    ]
    frames += [frame(BODY, channel, body[at : at + longest]) for at in range(0, len(body), longest)]
    return b"".join(frames)


def acknowledged(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Return what settles *tag*, or with *multiple* all that came up to it."""
    return frame(METHOD, channel, ACK + _SETTLED.pack(tag, multiple))


def asked_for(channel: int, place: str) -> bytes:
    """Return what asks for the next message in *place*."""
    return frame(METHOD, channel, b"".join((GET, b"\0\0", short(place), b"\0")))


class Content(NamedTuple):
    """
    A message that has come.

    Attributes:
        method: What brought it, and how.
        table: Its headers, encoded; nothing if it has none.
    """

    method: bytes
    table: bytes
    id: str | None
    name: str | None
    body: bytes

    @property
    def is_returned(self) -> bool:
        """Whether it is one of ours, which no queue got."""
        return self.method.startswith(RETURN)

    @property
    def is_asked_for(self) -> bool:
        """Whether it answers a question, and is for no consumer."""
        return self.method.startswith(GOT)

    def got(self) -> int:
        """Return its tag, if it was asked for."""
        return int.from_bytes(self.method[4:12])

    def delivered(self) -> tuple[bytes, int]:
        """Return the consumer that it is for, and its tag."""
        after = 5 + self.method[4]
        return self.method[5:after], _NUMBER.unpack_from(self.method, after)[0]

    def place(self) -> str:
        """Return the routing key that it was published with, if it is returned."""
        at = 6  # behind the number of the reason
        for _ in ("reason", "exchange"):
            at += 1 + self.method[at]
        return _text(self.method[at : at + 1 + self.method[at]])


class Confirmation(NamedTuple):
    """What became of *tag*, or with *multiple* of all up to it."""

    tag: int
    multiple: bool
    is_done: bool


class Nothing:
    """There is nothing where somebody has asked for a message."""


class ChannelFrames:
    """
    Takes out of the frames of one channel what is ours: messages, and what became of those that were published.

    Args:
        on_come: Called with all that has come at once, in its order.

    Attributes:
        is_closing: Whether RabbitMQ has closed the channel; the library learns it later.
    """

    def __init__(self, on_come: Callable[[list[Content | Confirmation | Nothing]], object]) -> None:
        self.is_closing = False
        self._on_come = on_come
        self._come: list[Content | Confirmation | Nothing] = []
        self._method = b""  # of the message that is coming
        self._properties: tuple[bytes, str | None, str | None] = (b"", None, None)
        self._missing = 0
        self._parts: list[bytes] = []

    def take(self, kind: int, content: bytes) -> bool:
        """Return whether the frame is ours."""
        if kind == METHOD:
            return self._take_method(content)
        if kind == HEADER:
            (self._missing,) = _NUMBER.unpack_from(content, 4)
            self._properties = read_properties(content, 12)
        else:
            self._missing -= len(content)
            self._parts.append(content)
        if self._missing <= 0:
            self._finish()
        return True

    def hand_out(self) -> None:
        """Tell of all that has come since it was asked last."""
        if self._come:
            come, self._come = self._come, []
            self._on_come(come)

    def _take_method(self, content: bytes) -> bool:
        name = content[:4]
        if name in {DELIVER, RETURN, GOT}:
            self._method = content
            return True
        if name == NOTHING:
            self._come.append(Nothing())
            return True
        if name in {ACK, NACK}:
            tag, bits = _SETTLED.unpack_from(content, 4)
            self._come.append(Confirmation(tag, multiple=bool(bits & 1), is_done=name == ACK))
            return True
        self.is_closing = self.is_closing or name == CLOSE
        return False

    def _finish(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._come.append(Content(self._method, *self._properties, body))
        self._parts = []


def read_properties(content: bytes, at: int) -> tuple[bytes, str | None, str | None]:
    """Return the headers (encoded; nothing if there are none), the id and the name of the properties at *at*."""
    flags = int.from_bytes(content[at : at + 2])
    at += 2
    found: dict[int, bytes] = {}
    for flag, width in _WIDTHS:
        if flags & flag:
            if width == _SHORT_STRING:
                size = 1 + content[at]
            elif width == _TABLE:
                size = 4 + _LENGTH.unpack_from(content, at)[0]
            else:
                size = width
            found[flag] = content[at : at + size]
            at += size
    id_, name = (_text(found[flag]) if flag in found else None for flag in (_ID, _NAME))
    return found.get(_HEADERS, b""), id_, name


def _text(string: bytes) -> str:
    # What other programs send may be no UTF-8, and is no reason to end the connection.
    return string[1:].decode(errors="replace")
