"""What goes to a worker process and what comes back, and what cannot."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import jockey
from jockey._backends import _frames, _parcels
from jockey._backends._channel import Response
from jockey._backends.process import ProcessBackend
from tests.backends import process_failures as failures
from tests.backends import process_handlers as handlers

pytestmark = pytest.mark.anyio

MEGABYTE = 2**20


@pytest.fixture
async def pool() -> AsyncIterator[ProcessBackend]:
    pool = ProcessBackend(max_jobs_per_process=None)
    yield pool
    await pool.aclose()


PAYLOADS: dict[str, object] = {
    "none": None,
    "small": {"a": [1, 2.5, ("b",)]},
    "empty": b"",
    "almost big": bytes(_parcels.BIG - 100),
    "just big": bytes(_parcels.BIG),
    "big": os.urandom(20 * MEGABYTE),
    "bytearray": bytearray(3 * MEGABYTE),
    "text": "ä" * MEGABYTE,
    "nested": [[number, str(number)] for number in range(200_000)],
    "many pieces": [bytes(100_000) for _ in range(1500)],
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_payload_and_result_arrive_as_they_were(pool: ProcessBackend, kind: str) -> None:
    result = await pool.run(handlers.echo, PAYLOADS[kind])

    assert result == PAYLOADS[kind]


def unpickled(pieces: list[bytes]) -> Any:
    source = _parcels.Pieces(pieces)
    return _parcels.Arrival(source.readinto, _frames.length(pieces), b"", []).unpickled()


def test_big_bytes_are_not_copied_for_sending() -> None:
    big = bytes(MEGABYTE)

    assert any(piece is big for piece in _parcels.pickled([big]).pieces)


def test_buffers_are_sent_as_they_lie() -> None:
    big = bytearray(MEGABYTE - 1)

    pieces = _parcels.pickled(pickle.PickleBuffer(big)).pieces

    assert unpickled([bytes(piece) for piece in pieces]) == big


def test_pieces_of_any_size_are_unpickled() -> None:
    whole = pickle.dumps([bytes(MEGABYTE), "text"])

    assert unpickled([whole]) == [bytes(MEGABYTE), "text"]
    assert unpickled([whole[:10], whole[10:11], whole[11:]]) == [bytes(MEGABYTE), "text"]


def test_pickle_without_an_end_is_an_error() -> None:
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        unpickled([pickle.dumps([1, 2])[:-1]])


def test_response_may_come_byte_by_byte() -> None:
    response = Response()

    answers = [response.feed(bytes([byte])) for byte in _frames.RESPONSE.pack(_frames.RESULT, 1, 2) + b"abc"]

    assert answers == [False] * 15 + [True]
    assert (response.layout_size, response.size, b"".join(response.pieces)) == (1, 2, b"abc")


async def test_big_results_arrive(pool: ProcessBackend) -> None:
    assert await pool.run(handlers.zeros, 10 * MEGABYTE) == bytes(10 * MEGABYTE)
    assert await pool.run(handlers.numbers, 100_000) == handlers.numbers(100_000)


async def test_error_of_the_handler_comes_back_with_its_traceback(pool: ProcessBackend) -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        await pool.run(failures.raise_value_error, "bad")

    assert caught.value.__notes__ == ["a note"]
    traceback = str(caught.value.__cause__)
    assert "in raise_value_error" in traceback
    assert "_worker.py" not in traceback


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (failures.raise_system_exit, SystemExit),
        (failures.raise_keyboard_interrupt, KeyboardInterrupt),
        (failures.raise_cancelled, asyncio.CancelledError),
        (failures.raise_custom, failures.Custom),
    ],
)
async def test_what_is_no_exception_fails_the_job_alone(
    pool: ProcessBackend, handler: Callable[[object], object], cause: type[BaseException]
) -> None:
    pid = await pool.run(handlers.pid, None)

    with pytest.raises(jockey.HandlerCrashedError, match="which is no Exception") as caught:
        await pool.run(handler, None)

    assert type(caught.value.__cause__) is cause
    assert "Traceback" in str(caught.value.__cause__.__cause__)
    assert await pool.run(handlers.pid, None) == pid


@pytest.mark.parametrize(
    ("handler", "payload", "words"),
    [
        (handlers.echo, threading.Lock(), ["a payload of type _thread.lock", "cannot be pickled", "'echo'"]),
        (handlers.echo, failures.OnlyHere(0), ["the payload of 'echo'", "unpickled", "not in this process", "only_in"]),
        (handlers.echo, failures.OnlyHere(0, MEGABYTE), ["the payload of 'echo'", "unpickled", "not in this process"]),
        (failures.a_lock, None, ["the result of 'a_lock'", "cannot be pickled", "_thread.lock"]),
        (failures.a_deep_list, None, ["the result of 'a_deep_list'", "cannot be pickled", "RecursionError"]),
        (failures.only_here, None, ["the result of 'only_here'", "cannot be unpickled", "not in this process"]),
        (failures.raise_fussy, None, ["FussyError('1 and 2')", "failures.FussyError", "__init__", "in raise_fussy"]),
        (
            failures.raise_unpicklable,
            None,
            ["the exception of", "UnpicklableError('with a lock')", "in raise_unpicklable"],
        ),
        (failures.raise_reprless, None, ["the exception of", "<tests.backends.process_failures.ReprlessError object"]),
        (failures.raise_false_exception, None, ["FalseError()", "unpickled to 1"]),
        (lambda payload: payload, None, ["<lambda>", "cannot be pickled", "top level of its module"]),
    ],
)
async def test_what_cannot_be_sent_fails_the_job_alone(
    pool: ProcessBackend, handler: Callable[[Any], object], payload: object, words: list[str]
) -> None:
    pid = await pool.run(handlers.pid, None)

    with pytest.raises(jockey.TransferError) as caught:
        await pool.run(handler, payload)

    for word in words:
        assert word in str(caught.value)
    assert await pool.run(handlers.pid, None) == pid


async def test_handler_that_a_worker_does_not_find_fails_the_job_alone(
    pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "only_known_here", late_comer, raising=False)
    monkeypatch.setattr(late_comer, "__module__", handlers.__name__)
    monkeypatch.setattr(late_comer, "__qualname__", "only_known_here")

    with pytest.raises(jockey.TransferError, match="handler of 'only_known_here' cannot be unpickled in the worker"):
        await pool.run(late_comer, bytes(2 * MEGABYTE))

    assert await pool.run(handlers.echo, 1) == 1


def late_comer(_: object) -> None: ...
