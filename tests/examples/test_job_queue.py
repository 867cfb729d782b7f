"""examples/job_queue.py does each order once, tries again what can be tried again, and ends when it is told to."""

from __future__ import annotations

import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.examples.program import EXAMPLES, but_for_slowness, output, rest_of, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = EXAMPLES / "job_queue.py"


@contextmanager
def worker(*command: str | Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with start(*command, folder=folder) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(wanted: str, process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if lines[-1] == wanted:
            return lines
    raise AssertionError(f"it has ended without {wanted!r}: {lines}")


def order(folder: Path, *arguments: str) -> list[str]:
    return output(PROGRAM, "order", *arguments, folder=folder)


def test_an_order_is_done_once_and_tried_again(tmp_path: Path) -> None:
    with worker(PROGRAM, "work", folder=tmp_path) as process:
        first = order(tmp_path, "7", "ada")
        again = order(tmp_path, "7", "ada")
        unknown = order(tmp_path, "8", "bob", "chair", "horse")
        log = read_until("bob gets a letter: not in the shop: horse", process)
        process.send_signal(signal.SIGTERM)
        rest, complaints = rest_of(process)

    assert first == ["order 7 is new", "ada pays 330"]
    assert again == ["order 7 is known", "ada pays 330"]
    assert unknown == ["order 8 is new", "no bill: not in the shop: horse"]
    assert (process.returncode, but_for_slowness(complaints)) == (0, "")
    assert any(re.match(r"send_bill\[.*\] failed and will be tried again: ConnectionError", line) for line in log)
    assert rest.splitlines()[-1] == "3 succeeded, 1 were tried again, 1 are dead"


def test_without_an_order_it_tells_what_to_say(tmp_path: Path) -> None:
    with start(PROGRAM, folder=tmp_path) as process:
        printed, told = process.communicate()

    assert (process.returncode, printed) == (1, "")
    assert "python examples/job_queue.py order 7 ada" in told
