"""The command `jockey worker`: real processes, which work on a file of SQLite."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from jockey.jobs import App
from jockey.jobs._cli import _worker, jockey
from tests.parallel.terminal import CTRL_C, ROOT, python

pytestmark = pytest.mark.usefixtures("root")

SHOP = """\
import contextlib, os, sys
from jockey import jobs


def tell(*what):
    os.write(1, f"{' '.join(map(str, what))}\\n".encode())  # one line is one write


@contextlib.asynccontextmanager
async def lifespan():
    tell("up", VERSION, os.getpid())
    yield
    tell("down", VERSION, os.getpid())


VERSION = 1
app = jobs.App("sqlite:///jobs.db", lifespan=lifespan)


@app.task(queue="mail")
async def send(to: str) -> None:
    tell("sent", to, sys.stdin.read())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a directory of its own, with an app in it, and forget what was imported from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "empty.py").write_text("from jockey import jobs\napp = jobs.App()\n")
    yield tmp_path
    for name in ("shop", "empty"):
        sys.modules.pop(name, None)


class Running:
    """
    The command in a process of its own.

    All that it starts shares its standard output, so that the end of this is the end of all of them.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jockey", "worker", "shop:app", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.logs: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout,)),
            threading.Thread(target=self.logs.extend, args=(self.process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()

    def told(self, word: str, version: str = "1") -> int:
        """Return the id of the process that says this next."""
        line = self.line()
        assert line is not None, self.logs
        assert line.split()[:-1] == [word, version]
        return int(line.split()[-1])

    def line(self, timeout: float | None = None) -> str | None:
        """Return what is said next; None after the end of all."""
        return self._lines.get(timeout=timeout)

    def rest(self) -> list[str]:
        """Wait until nobody is left who could say anything, and return what they have said."""
        return list(iter(self.line, None))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self, stream: Any) -> None:
        for line in stream:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    command = Running(*arguments)
    try:
        yield command
    finally:
        command.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(jockey, ["worker", *arguments], catch_exceptions=False)


def enqueue(*ids: str) -> None:
    async def work() -> None:
        async with App("sqlite:///jobs.db") as app:
            await app.queues.declare("mail")
            for id_ in ids:
                await app.enqueue("send", [id_], id=id_, queue="mail")

    anyio.run(work)


def test_a_burst_runs_what_is_there_and_ends() -> None:
    enqueue("1", "2")

    with running("--burst", "--queues", "images,mail", "--log-format", "json", "--backend", "trio") as command:
        said = command.rest()
        command.process.wait()
        command.close()

        assert sorted(line.split()[0] for line in said) == ["down", "sent", "sent", "up"]
        assert command.process.returncode == 0
        logs = [json.loads(line) for line in command.logs]
    assert {log.get("job_id") for log in logs} == {"1", "2", None}
    assert logs[0]["message"] == "no task of shop:app has the queue 'images'; there are mail"
    assert logs[1]["message"].endswith("takes from images, mail")


def test_processes_are_replaced_and_end_with_a_signal() -> None:
    with running("--processes", "2") as command:
        first, second = command.told("up"), command.told("up")
        os.kill(first, signal.SIGKILL)
        third = command.told("up")
        command.process.send_signal(signal.SIGTERM)
        ends = {command.told("down"), command.told("down")}

        assert command.rest() == []
        assert command.process.wait() == 0
    assert ends == {second, third}


def test_workers_do_not_outlive_a_supervisor_that_is_killed() -> None:
    with running("--processes", "2") as command:
        pids = {command.told("up"), command.told("up")}
        command.process.kill()

        assert {command.told("down"), command.told("down")} == pids
        assert command.rest() == []
        command.close()
        assert sum("the supervisor is gone" in line for line in command.logs) == 2


def test_ctrl_c_in_a_terminal_is_one_signal_for_each_worker(folder: Path) -> None:
    with python("-m", "jockey", "worker", "shop:app", "--processes", "2", folder=folder) as terminal:
        terminal.wait_for("up 1", times=2)
        terminal.type(CTRL_C)

        assert terminal.wait() == 0
    assert terminal.output.count("down 1") == 2
    assert terminal.output.count("got SIGINT; the worker processes end") == 1
    assert terminal.output.count("got SIGTERM; it takes nothing new") == 2
    assert "given back" not in terminal.output


def test_a_burst_of_several_processes_ends_by_itself_and_they_have_no_input() -> None:
    enqueue("1", "2", "3")

    with running("--processes", "2", "--burst") as command:
        said = sorted(re.sub(r" \d+\n", "", line) if line[0] != "s" else line.strip() for line in command.rest())

        assert said == ["down 1", "down 1", "sent 1", "sent 2", "sent 3", "up 1", "up 1"]
        assert command.process.wait() == 0


def test_workers_start_again_when_the_code_has_changed(folder: Path) -> None:
    with running("--reload") as command:
        old = command.told("up")
        # Again until it is noticed: nobody tells from when on changes are.
        line: str | None = ""
        # Not of the same size: within one second, Python would take what it has compiled of it before for this.
        changed = SHOP.replace("VERSION = 1", "VERSION = 2") + "\n"
        while line == "":
            (folder / "shop.py").write_text(changed)
            try:
                line = command.line(timeout=1)
            except queue.Empty:
                changed += "\n"

        assert line is not None
        assert line.split() == ["down", "1", str(old)]
        assert command.told("up", "2") != old
        command.process.send_signal(signal.SIGTERM)
        rest = command.rest()
        assert command.process.wait() == 0
    assert rest[-1].startswith("down 2 ")


@pytest.mark.parametrize(
    ("arguments", "story"),
    [
        (["empty:app"], "empty:app has no tasks"),
        (["shop:app", "--burst", "--reload"], "choose one"),
        (["shop:app", "--max-jobs", "0"], "max_jobs must be at least 1"),
        (["shop:app", "--processes", "0"], "x>=1"),
        (["shop:app", "--queues", "a,,b"], "--queues has a name that is empty: 'a,,b'"),
    ],
)
def test_wrong_usage(arguments: list[str], story: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert story in result.stderr


def test_trio_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    result = run("shop:app", "--backend", "trio")

    assert result.exit_code == 2
    assert "--backend trio needs trio, which is not there; run: pip install trio" in result.stderr


def test_a_queue_that_no_task_has_is_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def do_nothing(_self: object) -> None: ...

    monkeypatch.setattr(_worker.Worker, "run", do_nothing)

    for app, queues in [("shop:app", "mail"), ("shop:app", "mail, mial"), ("empty:app", "mail")]:
        run(app, "--queues", queues)

    assert caplog.messages == [
        "no task of shop:app has the queue 'mial'; there are mail",
        "no task of empty:app has the queue 'mail'",
    ]


def test_a_broker_that_is_away_at_the_start_is_told_without_a_traceback(folder: Path) -> None:
    (folder / "jobs.db").mkdir()

    result = run("shop:app", "--burst")

    assert result.exit_code == 1
    assert re.match("Error: .*jobs.db", result.stderr)


def test_several_processes_need_signals_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_worker.sys, "platform", "win32")

    result = run("shop:app", "--processes", "2")

    assert result.exit_code == 2
    assert "Windows has no signals between processes" in result.stderr


def test_worker_processes_get_the_options_of_the_command(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    made: list[Any] = []

    class Supervisor:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            made.append((arguments, options))

        async def run(self) -> int:
            return 7

    monkeypatch.setattr(_worker, "Supervisor", Supervisor)
    options = ["--max-jobs=3", "--graceful-shutdown-time=4.0", "--backend=trio"]

    result = run("shop:app", "--processes", "2", "--queues", "a,b", "--queues", "c", *options, "--burst")
    plain = run("shop:app", "--reload", *options, "--log-format", "json")

    start = [sys.executable, "-m", "jockey", "worker", "--supervised", "shop:app"]
    assert (result.exit_code, plain.exit_code) == (7, 7)
    assert made == [
        (([*start, "--queues=a,b,c", *options, "--burst"], 2), {"grace": 4.0, "can_end": True, "watched": None}),
        (([*start, *options, "--log-format=json"], 1), {"grace": 4.0, "can_end": False, "watched": folder}),
    ]
