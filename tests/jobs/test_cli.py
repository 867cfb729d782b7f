"""The command `jockey`: what it asks of a broker, what it prints, and its exit codes."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import anyio
import click
import pytest
from click.testing import CliRunner, Result

from jockey import __main__ as program
from jockey.jobs import App, QueueInfo, Record, State, Trouble, Worker, WorkerInfo
from jockey.jobs._broker import Hearing
from jockey.jobs._cli import _ask, _dead, _queues, jockey
from jockey.jobs._cli._logs import JsonFormatter, write_logs
from jockey.jobs._cli._show import RecordList, duration, queue_table, record_sheet, show
from tests.parallel.terminal import CTRL_C, ROOT, Terminal

Answer = TypeVar("Answer")

SHOP = """\
from jockey import jobs

app = jobs.App("sqlite:///jobs.db")
other = 3


@app.task(queue="mail")
async def send(to: str, subject: str = "hello") -> int:
    if to == "nobody":
        raise ValueError("no \\x1b[31m such address")
    return len(to)
"""
URL = "sqlite:///jobs.db"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a directory of its own, with an app in it, and forget what was imported from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("JOCKEY_APP", URL)
    (tmp_path / "shop.py").write_text(SHOP)
    yield tmp_path
    for name in [name for name, module in sys.modules.items() if is_below(tmp_path, module)]:
        del sys.modules[name]


def is_below(folder: Path, module: object) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(str(folder))


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(jockey, arguments, prog_name="jockey", catch_exceptions=False, **options)


def output(*arguments: str, **options: Any) -> str:
    """Run a command that must do well, and return what it prints."""
    result = run(*arguments, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


def printed_json(*arguments: str) -> Any:
    lines = output(*arguments, "--json").splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def with_app(work: Callable[[App[Any]], Awaitable[Answer]]) -> Answer:
    async def opened() -> Answer:
        async with App[Any](URL) as app:
            await app.queues.declare("mail")
            return await work(app)

    return anyio.run(opened)


def enqueue(*ids: str, args: tuple[Any, ...] = ("a@b.c",), name: str = "send") -> None:
    """Put jobs into the queue "mail"."""

    async def work(app: App[Any]) -> None:
        for id_ in ids:
            await app.enqueue(name, args, id=id_, queue="mail")

    with_app(work)


def work_off(*ids: str, args: tuple[Any, ...] = ("a@b.c",)) -> None:
    """Have these jobs run by a worker."""
    enqueue(*ids, args=args)
    output("worker", "shop:app", "--burst")


def state(id_: str) -> State:
    return with_app(lambda app: app.job(id_).status())


# Where the app is


def test_an_app_is_found_from_the_current_directory() -> None:
    work_off("1")

    assert state("1") is State.SUCCEEDED


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "--app", "shop:app"],
        ["jobs"],
        ["job", "1"],
        ["cancel", "1"],
        ["dead", "list"],
        ["dead", "drop", "--all", "--yes"],
        ["purge", "mail", "--yes"],
        ["enqueue", URL, "send"],
    ],
)
def test_to_look_makes_no_file(arguments: list[str], folder: Path) -> None:
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: there is no file 'jobs.db'; is the path right? It is made when a worker starts" in result.stderr
    assert not (folder / "jobs.db").exists()


def test_an_app_knows_the_file_that_it_makes() -> None:
    assert App("memory://").file is None
    assert App(URL).file == "jobs.db"
    assert App("amqp://localhost/").file is None
    assert App("amqp://localhost/", results=URL).file == "jobs.db"


def test_the_first_job_makes_the_file(folder: Path) -> None:
    output("enqueue", "shop:app", "send", "--args", '["a@b.c"]')

    assert (folder / "jobs.db").exists()


def test_the_app_is_named_by_an_option_or_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue("1")

    assert "mail" in output("status")
    assert "mail" in output("status", "--app", "shop:app")

    monkeypatch.delenv("JOCKEY_APP")
    assert run("status").exit_code == 2


@pytest.mark.parametrize(
    ("name", "story"),
    [
        ("shop", "'shop' is not like MODULE:NAME, such as shop:app"),
        ("shop:", "is not like MODULE:NAME"),
        ("sqlite:///jobs.db", "is not like MODULE:NAME, such as shop:app; a URL does not tell where the code"),
        ("shop.py:app", "there is no module 'shop.py' in .*; did you mean shop:app?"),
        ("./shop:app", "'./shop' is a path; a module has a name with dots; did you mean shop:app?"),
        ("web/shop.py:app", "did you mean web.shop:app?"),
        ("../shop:app", "'../shop' is a path; a module has a name with dots; go to its directory, and say shop:app"),
        ("/srv/shop.py:app", "go to its directory, and say shop:app"),
        (".shop:app", "'.shop' is a path"),
        ("nothing:app", "there is no module 'nothing' in "),
        ("shop.nothing:app", "there is no module 'shop.nothing' in "),
        ("shop:app.nothing", "the module 'shop' has no 'app.nothing'; did you mean shop:app?"),
        ("shop:other", "shop:other is not a jockey.jobs.App, but int; did you mean shop:app?"),
        ("empty:app", "the module 'empty' has no 'app'\n"),
        ("empty:router", "empty:router is not a jockey.jobs.App, but Router\n"),
    ],
)
def test_an_app_that_is_not_there_is_wrong_usage(name: str, story: str, folder: Path) -> None:
    (folder / "empty.py").write_text("from jockey import jobs\nrouter = jobs.Router()\n")

    result = run("worker", name)

    assert result.exit_code == 2
    assert re.search(re.escape(story).replace(r"\.\*", ".*"), result.stderr)


@pytest.mark.parametrize(
    ("code", "story"),
    [
        ("import sys\nsys.exit(3)\n", r"cannot be imported: SystemExit: 3 \(.*broken\.py, line 2\)"),
        ("from jockey import jobs\napp = jobs.App('sqlite://a.db')", r"got 'sqlite://a.db' \(.*broken\.py, line 2\)"),
        ("x = 1\n1 / 0\n", r"ZeroDivisionError: division by zero \(.*broken\.py, line 2\)"),
        ("import nothing_at_all\n", r"No module named 'nothing_at_all' \(.*broken\.py, line 1\)"),
        ("x = = 1\n", r"broken\.py\", line 1\n(.*\n)+SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_fails_with_the_place(code: str, story: str, folder: Path) -> None:
    (folder / "broken.py").write_text(code)

    result = run("worker", "broken:app")

    assert result.exit_code == 1
    assert "the module 'broken' cannot be imported: " in result.stderr
    assert re.search(story, result.stderr)
    assert "Traceback" not in result.stderr


def test_a_broker_that_there_is_not_is_wrong_usage() -> None:
    result = run("status", "--app", "paper://jobs")

    assert result.exit_code == 2
    assert "the URL of a broker must begin with memory:" in result.stderr


def test_a_broker_that_is_away_is_told_without_a_traceback(folder: Path) -> None:
    (folder / "novel.db").write_text("Call me Ishmael. " * 1000)

    result = run("status", "--app", "sqlite:///novel.db")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the jobs in 'novel.db' cannot be used: it is not a database")


def test_jobs_in_the_memory_of_another_process_cannot_be_seen() -> None:
    result = run("status", "--app", "memory://")

    assert result.exit_code == 1
    assert "keeps its jobs in memory, where no other process sees them" in result.stderr


# Enqueueing


def test_enqueue_prints_the_id() -> None:
    id_ = output("enqueue", "shop:app", "send", "--args", '["a@b.c"]', "--kwargs", '{"subject": "hi"}').strip()

    message = with_app(lambda app: app.job(id_).record()).message
    assert message is not None
    assert (message.name, message.queue, message.args, message.kwargs) == (
        "send",
        "mail",
        ("a@b.c",),
        {"subject": "hi"},
    )


def test_enqueue_has_the_options_of_a_job() -> None:
    output("enqueue", "shop:app", "send", "--args", '["x"]', "--queue", "mail", "--delay", "3600", "--id", "one")

    assert state("one") is State.SCHEDULED


def test_a_duplicate_is_told() -> None:
    arguments = ("enqueue", "shop:app", "send", "--args", '["a@b.c"]', "--id", "one")

    assert printed_json(*arguments) == {"id": "one", "is_new": True}
    assert printed_json(*arguments) == {"id": "one", "is_new": False}
    assert "was there before" in run(*arguments).stderr


def test_a_task_that_only_workers_know_can_be_enqueued() -> None:
    enqueue()

    result = run("enqueue", URL, "resize", "--queue", "mail")

    assert (result.exit_code, result.stderr) == (0, "")
    assert state(result.stdout.strip()) is State.QUEUED


@pytest.mark.parametrize(("name", "hint"), [("sedn", "; did you mean 'send'?"), ("resize", "closed>\n")])
def test_a_task_that_the_app_does_not_have_is_worth_a_warning(name: str, hint: str) -> None:
    result = run("enqueue", "shop:app", name, "--queue", "mail")

    assert result.exit_code == 0
    assert f"Warning: there is no task {name!r} in <App" in result.stderr
    assert hint in result.stderr


@pytest.mark.parametrize(
    ("arguments", "story"),
    [
        (["send"], "missing a required argument: 'to'"),
        (["send", "--args", "[3]"], "does not fit"),
        (["send", "--args", "[oh"], "'[oh' is not an array of JSON"),
        (["send", "--kwargs", "[]"], "'[]' is not an object of JSON"),
        (["send", "--args", '["a@b.c"]', "--delay", "-1"], "delay must be"),
    ],
)
def test_what_does_not_fit_the_task_is_wrong_usage(arguments: list[str], story: str) -> None:
    result = run("enqueue", "shop:app", *arguments)

    assert result.exit_code == 2
    assert story in result.stderr


def test_a_queue_that_is_not_there_is_a_failure() -> None:
    enqueue()
    result = run("enqueue", URL, "send", "--queue", "nothing")

    assert result.exit_code == 1
    assert "there is no queue 'nothing'" in result.stderr


# Queues


def test_status_shows_what_is_in_the_queues() -> None:
    work_off("1", args=("nobody",))
    enqueue("2", "3")

    (queue,) = printed_json("status")["queues"]
    table = output("status").splitlines()

    assert queue.pop("oldest_wait") >= 0
    assert queue == {"name": "mail", "ready": 2, "delayed": 0, "running": 0, "dead": 1, "workers": 0}
    assert table[0].split("  ")[0] == "queue"
    assert table[1].split()[:5] == ["mail", "2", "0", "0", "1"]


def test_status_shows_the_workers_busy_or_idle(capsys: pytest.CaptureFixture[str]) -> None:
    async def look(app: App[Any]) -> tuple[_queues._Status, _queues._Status]:
        @app.task(queue="mail")
        async def watched() -> None:
            running.append(await _queues._status(app, with_workers=True))

        running: list[_queues._Status] = []
        await watched.enqueue()
        async with app.broker.consume(["mail"], Hearing(print, print), worker="w0", lease=30, max_crashes=3):
            await Worker(app, name="w1", burst=True, max_jobs=1, handle_signals=()).run()
        return running[0], await _queues._status(app, with_workers=True)

    running, idle = with_app(look)

    assert running.data()["workers"] == [WorkerInfo("w0", ("mail",)), WorkerInfo("w1", ("mail",), running=1)]
    assert idle.data()["workers"] == []
    show(running.tables())
    assert [line.split() for line in capsys.readouterr().out.splitlines()[-2:]] == [
        ["w0", "0", "mail"],
        ["w1", "1", "mail"],
    ]
    assert "worker" in output("status", "--workers")


def test_watching_prints_a_line_of_json_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue("1")
    looks = iter([None, None])

    async def look_again(_: float) -> None:
        if next(looks, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr(_queues.anyio, "sleep", look_again)
    result = run("status", "--watch", "--json")

    assert result.exit_code == 0
    assert [json.loads(line)["queues"][0]["ready"] for line in result.stdout.splitlines()] == [1, 1, 1]


def test_a_look_that_is_interrupted_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_queues, "ask", interrupted)

    assert run("status").exit_code == 1


def test_purge_removes_what_waits() -> None:
    enqueue("1", "2")

    assert output("purge", "mail", "--yes") == "removed 2 jobs\n"
    assert printed_json("purge", "mail", "--yes") == {"queue": "mail", "removed": 0}


def test_purge_of_a_queue_that_is_not_there_fails() -> None:
    enqueue()

    result = run("purge", "nothing", "--yes")

    assert result.exit_code == 1
    assert "there is no queue 'nothing'" in result.stderr


def test_nothing_is_removed_when_nobody_can_be_asked() -> None:
    enqueue("1")

    result = run("purge", "mail")

    assert result.exit_code == 2
    assert "say --yes" in result.stderr
    assert state("1") is State.QUEUED


@pytest.mark.parametrize(("answer", "exit_code"), [("y\n", 0), ("n\n", 1)])
def test_who_is_there_is_asked(answer: str, exit_code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue("1")
    monkeypatch.setattr(_ask, "is_anybody_there", lambda: True)

    result = run("purge", "mail", input=answer)

    assert result.exit_code == exit_code
    assert "Remove 1 job from 'mail'?" in result.stderr
    assert printed_json("status")["queues"][0]["ready"] == exit_code


# Jobs


def test_jobs_are_listed_the_newest_first() -> None:
    enqueue("1", "2", "3")

    assert [job["id"] for job in printed_json("jobs")] == ["3", "2", "1"]
    assert [job["id"] for job in printed_json("jobs", "--count", "2")] == ["3", "2"]
    assert [line.split()[:4] for line in output("jobs").splitlines()] == [
        ["id", "task", "queue", "state"],
        *(["3", "send", "mail", "queued"], ["2", "send", "mail", "queued"], ["1", "send", "mail", "queued"]),
    ]


def test_jobs_are_listed_by_state_and_queue() -> None:
    work_off("1")
    enqueue("2")

    assert [job["id"] for job in printed_json("jobs", "--state", "succeeded")] == ["1"]
    assert [job["id"] for job in printed_json("jobs", "--queue", "mail")] == ["2", "1"]
    assert run("jobs", "--state", "asleep").exit_code == 2


def test_jobs_of_a_queue_that_is_not_there_are_a_failure() -> None:
    enqueue()

    assert printed_json("jobs", "--queue", "mail") == []
    result = run("jobs", "--queue", "mial")

    assert result.exit_code == 1
    assert "there is no queue 'mial' (declared: 'mail')" in result.stderr


def test_a_job_is_shown_with_its_result() -> None:
    work_off("1")

    job = printed_json("job", "1")
    sheet = output("job", "1")

    assert (job["state"], job["result"], job["error"], job["message"]["args"]) == ("succeeded", 5, None, ["a@b.c"])
    assert re.search(r"^result +5 *$", sheet, flags=re.MULTILINE)
    assert re.search(r'^arguments +\{"args":\["a@b.c"\],"kwargs":\{\}\} *$', sheet, flags=re.MULTILINE)
    assert "error" not in sheet


def test_a_job_is_shown_with_its_failure_and_nothing_that_a_terminal_obeys() -> None:
    work_off("1", args=("nobody",))

    sheet = output("job", "1")

    assert "ValueError: no \\x1b[31m such address" in sheet
    assert "Traceback (most recent call last):\n" in re.sub(" +\n", "\n", sheet)
    assert "\x1b" not in sheet
    assert printed_json("job", "1")["error"]["message"] == "no \x1b[31m such address"


LONG = "no such address: the server of a.long.name.example.com says so, and that it has said so before\nand more"


def shown(what: Any, *, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what somebody reads in a terminal of that width."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, value)
    show(what)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 120])
def test_an_id_is_never_wrapped(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["01a1fec6-ad06-7ac7-8560-a6955862b4f6", "welcome:" + "7" * 120]
    records = [
        Record(ids[0], "send", "mail", State.DEAD, attempt=3, error=Trouble(type="ValueError", message=LONG)),
        Record(ids[1], "invoices.render_monthly_statement", "invoices", State.QUEUED, enqueued_at=1e9),
    ]

    lines = shown(RecordList(records), columns=columns, monkeypatch=monkeypatch, capsys=capsys).splitlines()

    heads = [line for line in lines if not line.startswith(" ")]
    assert heads == [f"{ids[0]}  dead", f"{ids[1]}  queued"]
    assert lines[1].rstrip() == "    send in mail, tries: 3"
    told = " ".join(line.strip() for line in lines)
    assert f"ValueError: {LONG.splitlines()[0]} {ids[1]}" in told  # the first line of the error is whole, and no more
    assert "tries: 0, enqueued 2001-09-" in told
    assert all(len(line) <= max(columns, 60) for line in lines if line not in heads)


def test_jobs_have_a_line_each_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Record("1", "send", "mail", State.DEAD, attempt=3, error=Trouble(type="ValueError"))

    table = shown(RecordList([record]), columns=80, monkeypatch=monkeypatch, capsys=capsys)

    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["id", "task", "queue", "state", "tries", "enqueued", "error"]
    assert (lines[1][:5], lines[1][-1]) == (["1", "send", "mail", "dead", "3"], "ValueError")
    assert len(lines) == 2


def test_jobs_are_in_columns_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    show(RecordList([Record("1", "send", "mail", State.DEAD, error=Trouble(message="long " * 3000))]))

    assert capsys.readouterr().out.splitlines()[0].split()[:3] == ["id", "task", "queue"]


def test_what_is_known_of_a_job_is_whole_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = record_sheet(Record("1", "send", "mail", State.SUCCEEDED, result=b"7" * 200))

    text = shown(sheet, columns=60, monkeypatch=monkeypatch, capsys=capsys)

    assert "7" * 200 in re.sub(r"\s", "", text)


def test_counts_are_whole_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = [12_345_678, 23_456_789, 34_567_890, 45_678_901, 56_789_012]
    table = queue_table([QueueInfo("q" * 40, *counts[:4], workers=counts[4], oldest_wait=45.0)])

    text = shown(table, columns=60, monkeypatch=monkeypatch, capsys=capsys)

    assert re.findall(r"\d{3,}", text) == list(map(str, counts))


def test_what_could_not_be_read_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        record_sheet(Record("1", "", "mail", State.DEAD, body=b"\xff{", crashes=2, error=Trouble(message="unreadable")))
    )

    sheet = capsys.readouterr().out
    assert re.search(r"^body +\\xff\{ *$", sheet, flags=re.MULTILINE)
    assert re.search(r"^crashes +2 *$", sheet, flags=re.MULTILINE)


def test_a_record_without_a_message_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue()
    record = Record("1", "", "mail", State.DEAD, body=b"\xff{")
    monkeypatch.setattr(_dead, "ask", lambda *_: [record])

    (letter,) = printed_json("dead", "list")

    assert (letter["body"], letter["message"]) == ("\\xff{", None)


def test_a_job_that_is_not_there_is_a_failure() -> None:
    enqueue()

    result = run("job", "1")

    assert result.exit_code == 1
    assert "there is no job 1" in result.stderr


def test_a_job_is_cancelled_with_a_reason() -> None:
    enqueue("1", "2")

    assert output("cancel", "1", "--reason", "wrong address") == "cancelled 1\n"
    assert printed_json("cancel", "2") == {"id": "2", "cancelled": True}
    assert printed_json("job", "1")["error"]["message"] == "wrong address"


def test_a_job_that_has_ended_cannot_be_cancelled() -> None:
    work_off("1")

    result = run("cancel", "1", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"id": "1", "cancelled": False}
    assert "has ended before" in result.stderr
    assert run("cancel", "1").stdout == ""


# Dead letters


def test_dead_letters_are_listed_replayed_and_dropped() -> None:
    work_off("1", "2", "3", args=("nobody",))

    assert {job["id"] for job in printed_json("dead", "list")} == {"1", "2", "3"}
    assert len(output("dead", "list", "--count", "1").splitlines()) == 2
    assert output("dead", "replay", "1", "1") == "replayed 1 dead letter\n"
    assert printed_json("dead", "drop", "2") == {"dropped": 1, "missing": 0}
    assert state("1") is State.QUEUED
    assert [job["id"] for job in printed_json("dead", "list")] == ["3"]


def test_a_letter_that_is_not_dead_is_a_failure() -> None:
    work_off("1", args=("nobody",))

    result = run("dead", "replay", "1", "2", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"replayed": 1, "missing": 1}
    assert "1 of 2 are not among the dead letters: 2\n" in result.stderr


def test_letters_that_are_gone_meanwhile_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    work_off("1", args=("nobody",))
    monkeypatch.setattr(_dead, "_chosen", lambda *_, **__: ["1", "2"])

    assert "1 of 2 are not among the dead letters\n" in run("dead", "replay", "--all").stderr


def test_all_dead_letters_can_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dead, "_BATCH", 2)
    work_off("1", "2", "3", args=("nobody",))

    assert "there is no queue 'nothing'" in run("dead", "replay", "--all", "--queue", "nothing").stderr
    assert output("dead", "replay", "--all") == "replayed 3 dead letters\n"
    assert output("dead", "replay", "--all", "--queue", "mail") == "replayed 0 dead letters\n"

    output("worker", "shop:app", "--burst")
    assert run("dead", "drop", "--all").exit_code == 2
    assert printed_json("dead", "drop", "--all", "--yes") == {"dropped": 3, "missing": 0}


@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["1", "--queue", "mail"]])
def test_it_must_be_clear_which_dead_letters_are_meant(arguments: list[str]) -> None:
    enqueue()

    assert run("dead", "replay", *arguments).exit_code == 2


# In a terminal, and without


def in_terminal(*arguments: str, folder: Path) -> Terminal:
    return Terminal("/usr/bin/env", "TERM=xterm", sys.executable, "-m", "jockey", *arguments, folder=folder)


def see_it_change(terminal: Terminal, first: str) -> None:
    """See that it follows what comes after it has shown *first*, until Ctrl-C."""
    try:
        terminal.wait_for(first)
        enqueue("2")
        terminal.wait_for("mail       2")
        terminal.type(CTRL_C)
        assert terminal.wait() == 0
    finally:
        terminal.close()


def test_in_a_terminal_there_are_colours_and_a_table_that_changes_until_ctrl_c(folder: Path) -> None:
    work_off("0", args=("nobody",))
    enqueue("1")

    terminal = in_terminal("status", "--watch", folder=folder)
    see_it_change(terminal, "\x1b[1;31m   1\x1b[0m")

    assert "Traceback" not in terminal.output
    assert "\x1b" not in output("status")


def test_a_terminal_that_cannot_go_back_is_told_all_anew(folder: Path) -> None:
    enqueue("1")

    terminal = Terminal("/usr/bin/env", "TERM=dumb", sys.executable, "-m", "jockey", "status", "--watch", folder=folder)
    see_it_change(terminal, "mail       1")

    assert "\x1b" not in terminal.output


def test_a_table_is_never_so_narrow_that_nothing_is_in_it() -> None:
    enqueue("1")

    narrow = output("status", env={"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "10"})

    assert re.search(r"(?m)^mail +1 +0 +0 +0 ", narrow)


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["jobs"], ["jobs", "--json"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_output_that_cannot_be_written_is_told(arguments: list[str]) -> None:
    enqueue("1")

    with open("/dev/full", "w") as full:  # noqa: PTH123 - no path that anything is done with
        ran = subprocess.run(
            [sys.executable, "-m", "jockey", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert ran.returncode == 1
    assert ran.stderr == "Error: the output cannot be written: [Errno 28] No space left on device\n"


def test_who_has_read_enough_is_not_told_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(_line: str) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads")

    enqueue("1")
    monkeypatch.setattr(click, "echo", echo)

    result = run("jobs", "--json")

    assert (result.exit_code, result.stderr) == (1, "")


def test_ctrl_c_while_the_command_is_read_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt if name == "jockey" else AttributeError(name)

    monkeypatch.setitem(sys.modules, "jockey.jobs._cli", Interrupted("jockey.jobs._cli"))

    with pytest.raises(SystemExit, match="1"):
        program.main()

    assert capsys.readouterr().err == "Aborted!\n"


def test_colours_can_be_asked_for() -> None:
    work_off("1")

    assert "\x1b[32msucceeded\x1b[0m" in output("jobs", env={"FORCE_COLOR": "1", "TERM": "xterm"})


def test_help_has_examples() -> None:
    for path, _ in commands(jockey, ()):
        help_ = output(*path, "--help")
        assert re.search(rf"(?m)^  Examples:\n(    .*\n)*    {' '.join(('jockey', *path))} ", help_), path


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, inner in (command.commands if isinstance(command, click.Group) else {}).items():
        yield from commands(inner, (*path, name))


def test_documentation_has_all_commands_and_options() -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text("utf-8")

    for path, command in commands(jockey, ()):
        assert " ".join(("jockey", *path)) in page
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(f"`{name}" in page for name in option.opts), option


def test_version_is_that_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"jockey": "7.8.9"}.__getitem__)

    assert output("--version") == "jockey 7.8.9\n"


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert project["scripts"] == {"jockey": f"{program.__name__}:{program.main.__name__}"}


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys, runpy; sys.modules['click'] = None; runpy.run_module('jockey', run_name='__main__')"

    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert ran.returncode == 2
    assert ran.stderr == "jockey: this command needs click; run: pip install 'jockey[cli]'\n"


def test_each_needed_package_is_in_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    extra = {re.split(r"[^\w-]", requirement)[0] for requirement in project["optional-dependencies"]["cli"]}

    assert extra == set(program._NEEDED)


# Logs


def test_logs_are_text_unless_the_app_has_seen_to_them(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    root.handlers.clear()
    write_logs(None)
    logging.getLogger("shop").info("hello %s", "you")

    (handler,) = root.handlers
    assert re.fullmatch(r"[\d-]+ [\d:,]+ INFO \[\d+\] shop: hello you\n", capsys.readouterr().err)

    write_logs(None)
    assert root.handlers == [handler]

    write_logs("json")
    assert isinstance(root.handlers[0].formatter, JsonFormatter)


def test_a_log_in_json_has_what_was_added_to_its_record() -> None:
    def line(**values: Any) -> Any:
        return json.loads(
            JsonFormatter().format(logging.makeLogRecord({"msg": "hello", "levelname": "INFO", **values}))
        )

    error = ValueError("oh")

    assert line(job_id="1", where=Path("x"), created=0.0, name="shop", process=7) == {
        "time": "1970-01-01T00:00:00+00:00",
        "level": "INFO",
        "logger": "shop",
        "process": 7,
        "message": "hello",
        "job_id": "1",
        "where": "x",
    }
    assert line(exc_info=(ValueError, error, None))["exception"] == "ValueError: oh"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (86400 * 2.4, "2 d")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
