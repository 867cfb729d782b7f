"""Big buffers on their way to and from worker processes: they arrive, they do not stall, and they leave nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from unittest import mock

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jockey
from jockey._backends import _blocks, _channel, _frames, _parcels
from jockey._backends._blocks import Block
from jockey._backends.process import ProcessBackend
from tests.backends import process_buffers as buffers
from tests.backends import process_failures as failures
from tests.backends import process_handlers as handlers
from tests.backends.process_buffers import Holder
from tests.backends.process_observer import nothing_left, run_for_pid, shared_memory, stop

pytestmark = pytest.mark.anyio

BIG = _parcels.THRESHOLD


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def pool() -> AsyncIterator[ProcessBackend]:
    with nothing_left():
        pool = ProcessBackend(max_jobs_per_process=None, kill_after=60)
        yield pool
        await pool.aclose()


def numbers(size: int) -> np.ndarray[Any, Any]:
    return np.arange(size, dtype=np.uint8)


async def test_payload_and_result_arrive_as_they_were(pool: ProcessBackend) -> None:
    rows = np.arange(2 * BIG, dtype=np.float64).reshape(-1, 8)
    payload = {
        "below the threshold": numbers(BIG - 1),
        "at the threshold": numbers(BIG),
        "above the threshold": [numbers(BIG + 1), (numbers(BIG + 63),)],
        "columns first": np.asfortranarray(rows),
        "with gaps": rows[:, ::2],
        "nothing": numbers(0),
        "bytes": bytes(BIG) + b"1",
        "bytearray": bytearray(BIG) + b"2",
        "text": "ä" * BIG,
        "many": [np.full(BIG, number, np.uint8) for number in range(3 * _blocks.AT_ONCE)],
    }

    result: Any = await pool.run(handlers.echo, payload)

    np.testing.assert_equal(result, payload)
    assert [type(thing) for thing in result.values()] == [type(thing) for thing in payload.values()]


async def test_array_is_written_to_without_a_copy_and_without_an_echo(pool: ProcessBackend) -> None:
    there = numbers(BIG)

    (back,) = await pool.run_batch(buffers.fill, [[there]])

    assert (back[0] == 7).all()
    assert (there == numbers(BIG)).all()
    back[0][...] = 8
    assert (back[0] == 8).all()
    assert buffers.is_shared(back[0])
    assert await pool.run(buffers.is_shared, there)


async def test_array_that_may_not_be_written_to_arrives_so(pool: ProcessBackend) -> None:
    fixed = numbers(BIG)
    fixed.flags.writeable = False

    result: Any = await pool.run(handlers.echo, fixed)

    assert not result.flags.writeable


async def test_memory_goes_with_its_array(pool: ProcessBackend) -> None:
    result: Any = await pool.run(handlers.echo, [numbers(BIG), numbers(BIG)])

    mapped = [len(shared_memory())]
    result.pop()
    mapped.append(len(shared_memory()))
    result.pop()
    mapped.append(len(shared_memory()))

    assert mapped == [2, 1, 0]


async def test_arrays_that_are_kept_hold_no_descriptors(pool: ProcessBackend) -> None:
    there = await pool.run(buffers.descriptors, None)
    here = buffers.descriptors(None)

    kept = [await pool.run(handlers.echo, numbers(BIG)) for _ in range(3)]

    assert len(shared_memory()) == len(kept)
    assert buffers.descriptors(None) == here
    assert await pool.run(buffers.descriptors, None) == there


async def test_worker_keeps_nothing_of_a_job(pool: ProcessBackend) -> None:
    await pool.run(handlers.echo, numbers(BIG))

    assert await pool.run(buffers.mappings, None) == 0


async def test_copies_are_made_in_threads(pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def noting(method: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            threads.append(threading.current_thread())
            return method(*arguments)

        return noted

    await pool.run(handlers.echo, 1)
    for name in "write", "read", "mapped":
        monkeypatch.setattr(Block, name, noting(getattr(Block, name)))
    await pool.run(handlers.echo, [numbers(BIG), bytes(BIG)])

    assert len(threads) >= 4
    assert threading.main_thread() not in threads


class TestFailures:
    async def test_payload_that_is_refused_leaves_nothing(self, pool: ProcessBackend) -> None:
        with pytest.raises(jockey.TransferError, match="not in this process"):
            await pool.run(handlers.echo, [Holder(bytes(BIG)), failures.OnlyHere(0)])

        assert await pool.run(buffers.mappings, None) == 0

    async def test_result_that_does_not_unpickle_leaves_nothing(self, pool: ProcessBackend) -> None:
        with pytest.raises(jockey.TransferError, match="cannot be unpickled"):
            await pool.run(return_with_failure, bytes(BIG))

    async def test_buffer_with_gaps_cannot_be_sent(self, pool: ProcessBackend) -> None:
        with pytest.raises(jockey.TransferError, match="non-contiguous"):
            await pool.run(handlers.echo, Holder(memoryview(bytes(2 * BIG))[::2]))

    async def test_lack_of_memory_fails_the_job_alone(
        self, pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = Block.write
        written: list[object] = []

        def refuse(block: Block, data: Any, offset: int) -> None:
            write(block, data, offset)
            written.append(block)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        await pool.run(handlers.echo, 1)
        with monkeypatch.context() as patch:
            patch.setattr(Block, "write", refuse)
            with pytest.raises(jockey.TransferError, match="No space left"):
                await pool.run(handlers.echo, [bytes(BIG), bytes(BIG), bytes(BIG)])
        written.clear()

        assert await pool.run(handlers.echo, bytes(BIG)) == bytes(BIG)

    async def test_worker_that_may_open_no_more_files_refuses(self, pool: ProcessBackend) -> None:
        await pool.run(limit_descriptors, None)

        with pytest.raises(jockey.TransferError, match="payload of 'size' cannot be unpickled.*Too many open files"):
            await pool.run(handlers.size, bytes(BIG))

        assert await pool.run(handlers.size, bytes(9)) == 9

    async def test_too_many_blocks_on_their_way_fail_the_job(
        self, pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await pool.run(handlers.echo, 1)

        def refuse(_: object, pieces: Any, *__: object) -> NoReturn:
            raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))

        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "sendmsg", refuse)
            with pytest.raises(jockey.TransferError, match="too many big payloads are on their way"):
                await pool.run(handlers.echo, bytes(BIG))

        assert await pool.run(handlers.echo, 1) == 1


def return_with_failure(payload: bytes) -> object:
    return [Holder(payload), failures.only_here(None)]


def limit_descriptors(_: object) -> None:
    import resource

    following = os.dup(0)
    os.close(following)
    resource.setrlimit(resource.RLIMIT_NOFILE, (following, following))


class TestDeath:
    @settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(seconds=st.floats(0, 0.03))
    async def test_during_a_transfer_fails_at_most_its_job(self, pool: ProcessBackend, seconds: float) -> None:
        payload = Holder(bytes(16 * BIG))
        result: object = payload

        with contextlib.suppress(jockey.WorkerDiedError):
            result = await pool.run(buffers.be_killed_soon, (seconds, payload))

        assert result == payload

    async def test_before_the_job_is_read_fails_nothing(self, pool: ProcessBackend) -> None:
        pid = await run_for_pid(pool, handlers.pid, None)
        stop(pid)
        results: list[object] = []

        async def run() -> None:
            results.append(await pool.run(handlers.size, [bytes(BIG)]))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)

        assert results == [1]

    @settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(seconds=st.floats(0, 0.02))
    async def test_by_cancellation_leaves_nothing(self, pool: ProcessBackend, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await pool.run(handlers.echo, [Holder(bytes(16 * BIG)), bytes(16 * BIG)])


class TestBlocks:
    def test_without_memfd_is_a_file_without_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "memfd_create")

        with contextlib.closing(Block.new()) as block:
            block.write(b"abc", 2)

            assert bytes(block.mapped()) == b"\0\0abc"
            assert os.fstat(block.descriptor).st_nlink == 0

    def test_that_cannot_be_mapped_is_an_error(self) -> None:
        with contextlib.closing(Block.new()) as empty, pytest.raises(OSError, match="Invalid argument"):
            empty.mapped()

    def test_nobody_closes_is_closed_with_the_last_reference(self) -> None:
        block = Block.new()
        descriptor = block.descriptor

        del block

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

    def test_that_arrive_are_not_for_other_programs(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, contextlib.closing(Block.new()) as block:
            ours.sendmsg([b"x"], _blocks.as_ancillary([block]))
            response = _channel.Response()

            assert _channel._receive(theirs, response) == b"x"

            assert [os.get_inheritable(block.descriptor) for block in response.blocks] == [False]
            response.close()


BYTES = st.binary(max_size=40)
THINGS = st.recursive(
    BYTES | BYTES.map(bytearray) | BYTES.map(Holder) | st.text(max_size=40) | st.integers(),
    lambda things: st.lists(things, max_size=40) | st.dictionaries(st.integers(), things, max_size=3),
    max_leaves=60,
)


@given(thing=THINGS, data=st.data())
def test_parcels_arrive_in_whatever_pieces(thing: object, data: st.DataObject) -> None:
    with mock.patch.multiple(_parcels, THRESHOLD=16, BIG=24):
        parcel = _parcels.packed(_parcels.pickled(thing))
        whole = b"".join(bytes(piece) for piece in parcel.pieces)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        source = _parcels.Pieces(filter(None, pieces))

        arrived = _parcels.Arrival(source.readinto, len(whole), parcel.layout, parcel.blocks).unpickled()

    assert arrived == thing
    assert len(parcel.blocks) <= _blocks.AT_ONCE
    assert all(block.descriptor < 0 for block in parcel.blocks)


def test_parcel_without_its_blocks_is_an_error() -> None:
    parcel = _parcels.packed(_parcels.pickled(bytes(BIG)))
    _blocks.close(parcel.blocks)
    size = _frames.length(parcel.pieces)

    with pytest.raises(OSError, match="Too many open files"):
        _parcels.Arrival(_parcels.Pieces([bytes(size)]).readinto, size, parcel.layout, []).unpickled()


def test_parcel_that_breaks_off_is_an_error() -> None:
    (piece,) = _parcels.pickled(list(range(300))).pieces
    source = _parcels.Pieces([bytes(piece)[:-1]])

    with pytest.raises((EOFError, pickle.UnpicklingError)):
        _parcels.Arrival(source.readinto, _frames.length([piece]) + _parcels.BIG, b"", []).unpickled()
