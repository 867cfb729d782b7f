"""The rows: what somebody with a function and a list may want, and how it shows whether a library does it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.comparison import work
from tests.comparison.library import WORKERS, Library

_kept: list[object] = []
"""What is not to be closed before the answer is out: some libraries wait for work that never ends."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    """What is promised."""

    check: Callable[..., bool | str]
    """Takes the library and an empty folder; returns whether the promise holds, or a text that begins so: yes, no."""


def reads_lazily(library: Library, _: Path) -> bool:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for number in range(20_000):
            read = number + 1
            yield number

    next(_keep(library.in_order(abs, source())))
    return read < 20_000


def yields_while_others_run(library: Library, folder: Path) -> bool:
    gate = str(folder / "gate")
    results = _keep(library.in_order(work.wait_for_gate, ["", gate]))
    first = next(results)
    Path(gate).touch()
    return [first, next(results)] == ["quick", "opened"]


def yields_as_completed(library: Library, folder: Path) -> bool:
    gate = str(folder / "gate")
    results = _keep(library.as_completed(work.wait_for_gate, [gate, ""]))
    first = next(results)
    Path(gate).touch()
    return [first, next(results)] == ["quick", "opened"]


def batches(library: Library, _: Path) -> bool:
    return any(library.batching(work.came_with_others, [work.Parcel() for _ in range(2000)]))


def goes_on(library: Library, _: Path) -> bool:
    apple, error, plum = library.going_on(work.refuse, ["apple", "pear", "plum"])
    return (apple, plum) == ("apple", "plum") and isinstance(error, ValueError)


def names_item(library: Library, _: Path) -> bool:
    pear = f"pear-{17}"  # nowhere in a line of source, which a traceback shows
    try:
        list(library.in_order(work.refuse, ["apple", pear, "plum"]))
    except ValueError as error:
        return pear in "".join(traceback.format_exception(error))
    return False


def stops_at_timeout(library: Library, folder: Path) -> bool:
    results = _keep(library.limited(work.hang, [(str(folder), number) for number in range(4)], 10))
    error, *others = (next(results) for _ in range(4))
    return isinstance(error, Exception) and others == [1, 2, 3] and _ends(int((folder / "hanging").read_text()))


def survives_death(library: Library, _: Path) -> bool:
    error, *others = library.going_on(work.die_of_zero, range(10))
    return isinstance(error, Exception) and others == list(range(1, 10))


def sets_up_again(library: Library, _: Path) -> bool:
    error, *others = library.set_up(work.set_up, work.is_set_up, range(10))
    return isinstance(error, Exception) and others == [True] * 9


def shares_items(library: Library, _: Path) -> bool:
    import numpy as np

    return all(library.in_order(work.is_shared, [np.ones(4_000_000)] * 2))


def shares_results(library: Library, _: Path) -> bool:
    return all(work.is_shared(array) for array in library.in_order(work.make_array, [4_000_000] * 2))


def takes_lambdas(library: Library, _: Path) -> bool:
    return list(library.any_function(lambda number: 2 * number, [1, 2])) == [2, 4]


def stays_flat(library: Library, _: Path, items: int = 100_000) -> str:
    for _result in library.in_order(abs, range(10_000)):
        pass
    before = _most_memory()
    for _result in library.in_order(abs, range(items)):
        pass
    grown = _most_memory() - before
    # Far less than anything that is kept for each item: a future takes more than a kilobyte.
    return f"{'yes' if grown < 50 * items else 'no'}: {grown / 2**20:.1f} MiB more for {items} items than for 10000"


def ends_at_interrupt(library: Library, folder: Path) -> str:
    """Send what Ctrl-C sends: the signal to all processes of the terminal, which are a group."""
    name = type(library).__module__.rpartition(".")[2]
    program = [sys.executable, "-m", "tests.comparison.interrupted", name, str(folder)]
    process = subprocess.Popen(program, start_new_session=True)
    try:
        deadline = time.monotonic() + 2 * work.PATIENCE
        while len(workers := list(folder.glob("worker-*"))) < WORKERS:
            if time.monotonic() > deadline or process.poll() is not None:
                return "no: it does not even start"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(work.PATIENCE)
        except subprocess.TimeoutExpired:
            return "no: the program itself goes on"
        left = [worker.name for worker in workers if not _ends(int(worker.name.partition("-")[2]))]
        return f"no: {left} left" if left else "yes"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def shows_progress(library: Library, _: Path) -> bool:
    """Whatever tells, on a terminal, how many of how many are done, or how many percent."""
    ours, theirs = pty.openpty()
    os.dup2(theirs, 1)
    os.dup2(theirs, 2)
    os.close(theirs)
    told = bytearray()
    seen = threading.Event()

    def read() -> None:
        while not seen.is_set():
            told.extend(os.read(ours, 1024))
            if re.search(rb"\d+ ?/ ?20|\d+ out of +20|\d+ ?%", told):
                seen.set()

    threading.Thread(target=read, daemon=True).start()
    list(library.showing(work.take_a_moment, list(range(20))))
    return seen.wait(work.PATIENCE)


def can_be_awaited(library: Library, folder: Path) -> bool:
    gate = folder / "gate"

    async def open_gate() -> None:
        while not Path(f"{gate}.waiting").exists():  # noqa: ASYNC240 - as quick as can be
            await asyncio.sleep(0.02)
        gate.touch()

    async def run() -> list[Any]:
        opening = asyncio.create_task(open_gate())
        results = [result async for result in library.asynchronous(work.wait_for_gate, ["", str(gate)])]
        await opening
        return results

    return asyncio.run(run()) == ["quick", "opened"]


def uses_cluster(library: Library, _: Path) -> bool:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        return all(library.on_cluster(cluster.scheduler_address, work.worker_of_cluster, range(4)))


def remembers(library: Library, folder: Path) -> bool:
    runs = folder / "runs"
    items = [(str(runs), number) for number in range(4)]
    for _ in range(2):
        list(library.remembering(str(folder / "cache"), work.note_run, items))
    return len(runs.read_text().splitlines()) == len(items)


def _keep(results: Iterator[Any]) -> Iterator[Any]:
    _kept.append(results)
    return results


def _ends(process_id: int) -> bool:
    """Return whether a process, which need not be a child, ends."""
    deadline = time.monotonic() + work.PATIENCE / 2
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def _most_memory() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


ROWS = {
    "lazy": Row("reads items only when there is room: they may be endless", reads_lazily),
    "in_order": Row("results in order, while the rest runs", yields_while_others_run),
    "as_completed": Row("results as they come", yields_as_completed),
    "batches": Row("sends tiny items in batches", batches),
    "memory": Row("memory stays flat, however many items", stays_flat),
    "goes_on": Row("goes on after an item has failed", goes_on),
    "names_item": Row("the error names the item", names_item),
    "timeout": Row("a timeout for each item, which stops its work", stops_at_timeout),
    "death": Row("a worker that is killed fails its item only", survives_death),
    "set_up": Row("the worker that replaces it is set up too", sets_up_again),
    "interrupt": Row("Ctrl-C ends the program and its workers", ends_at_interrupt),
    "array_items": Row("large arrays are shared with workers, not piped", shares_items),
    "array_results": Row("and so are those that come back", shares_results),
    "progress": Row("shows progress on the terminal", shows_progress),
    "asynchronous": Row("results for async code", can_be_awaited),
    "lambdas": Row("takes lambdas and functions of a notebook", takes_lambdas),
    "machines": Row("more than one machine", uses_cluster),
    "caching": Row("remembers results from earlier runs", remembers),
}
