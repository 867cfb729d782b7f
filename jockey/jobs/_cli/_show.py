"""What is printed: for people tables, in colours on a terminal; for programs a line of JSON."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jockey.jobs._state import State

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

    from jockey.jobs._broker import QueueInfo, Record, WorkerInfo
    from jockey.jobs._message import Trouble

_STYLES: Final = {
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "yellow",
    State.DEAD: "red",
    State.CANCELLED: "magenta",
}

_UNITS: Final = (("s", 60.0), ("min", 60.0), ("h", 24.0))
"""Of time, each with how many of it make one of the next; after the last one come days."""

_WIDEST: Final = 10_000
"""Columns where there is no terminal, so that nothing is cut off or wrapped."""

_NARROWEST: Final = 60
"""Columns that a table has at least: in fewer nobody could read it, so there the terminal may wrap it."""

_INDENT: Final = 4
"""Columns before what is told of a job on the lines below its id."""


def show(what: RenderableType) -> None:
    """Print it: in colours, and as wide as the terminal, if that is where it goes."""
    console = Console()
    console.width = max(console.width, _NARROWEST) if console.is_terminal else _WIDEST
    with _written():
        console.print(what, crop=False)  # what is too long to be wrapped by us is whole all the same


def show_json(value: object) -> None:
    """Print it as one line of JSON."""
    with _written():
        click.echo(msgspec.json.encode(value).decode())


@contextlib.contextmanager
def _written() -> Generator[None]:
    """End the command plainly if its output cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has seen enough
    except OSError as error:
        raise click.ClickException(f"the output cannot be written: {error}") from error


def queue_table(infos: Iterable[QueueInfo]) -> Table:
    """Return what is in queues."""
    table = _table("queue")
    for name in ("ready", "delayed", "running", "dead", "oldest wait", "workers"):
        table.add_column(name, justify="right", no_wrap=name != "oldest wait")  # half a number is another number
    for info in infos:
        table.add_row(
            _text(info.name),
            str(info.ready),
            str(info.delayed),
            Text(str(info.running), "cyan" if info.running else ""),
            Text(str(info.dead), "bold red" if info.dead else ""),
            duration(info.oldest_wait) if info.ready else "",
            Text(str(info.workers), "yellow" if info.ready and not info.workers else ""),
        )
    return table


def worker_table(workers: Iterable[WorkerInfo]) -> Table:
    """Return which workers are there, and what they do."""
    table = _table("worker")
    table.add_column("running", justify="right")
    table.add_column("queues", overflow="fold")
    for worker in workers:
        table.add_row(_text(worker.name), str(worker.running), _text(", ".join(worker.queues)))
    return table


class RecordList:
    """
    What is known of many jobs: a line for each, in columns.

    Where a terminal is too narrow for that, several lines for each: the id on one of its own, never wrapped, so that it
    can be copied.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = _record_table(self._records)
        unlimited = options.update(width=_WIDEST)
        if Measurement.get(console, unlimited, table).maximum <= options.max_width:
            yield table
        else:
            for record in self._records:
                yield from _record_lines(record)


def record_sheet(record: Record) -> Table:
    """Return all that is known of one job."""
    sheet = Table.grid(padding=(0, 2))
    sheet.add_column(no_wrap=True)
    sheet.add_column(overflow="fold")
    for name, value in _facts(record):
        if value:
            sheet.add_row(Text(name, "bold"), value)
    return sheet


def record_data(record: Record) -> dict[str, Any]:
    """Return all that is known of one job, as JSON has it."""
    data: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    data["result"] = None if record.result is None else msgspec.Raw(record.result)
    data["body"] = None if record.body is None else record.body.decode(errors="backslashreplace")
    return data


def moment(at: float | None) -> str:
    """Return a time, in seconds since the epoch, as the clock on the wall had it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""


def duration(seconds: float) -> str:
    """Return it in the largest unit of which there are two."""
    value = seconds
    for unit, many in _UNITS:
        if value < 2 * many:
            return f"{value:.0f} {unit}"
        value /= many
    return f"{value:.0f} d"


def counted(count: int, noun: str) -> str:
    """Return how many there are of them."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _record_table(records: Iterable[Record]) -> Table:
    table = _table("id", "task", "queue", "state", "tries", "enqueued", "error")
    for record in records:
        table.add_row(
            *(_text(record.id), _text(record.name), _text(record.queue), _state(record.state), str(record.attempt)),
            *(moment(record.enqueued_at), _headline(record.error)),
        )
    return table


def _record_lines(record: Record) -> Iterator[RenderableType]:
    head = Text.assemble((_text(record.id).plain, "bold"), "  ", _state(record.state), no_wrap=True, overflow="ignore")
    facts = [f"{record.name} in {record.queue}".lstrip(), f"tries: {record.attempt}"]
    if record.enqueued_at:
        facts.append(f"enqueued {moment(record.enqueued_at)}")
    yield head
    yield Padding(_text(", ".join(facts)), (0, 0, 0, _INDENT))
    if record.error:
        yield Padding(_headline(record.error), (0, 0, 0, _INDENT))


def _facts(record: Record) -> Sequence[tuple[str, RenderableType]]:
    message = record.message
    arguments = (
        "" if message is None else msgspec.json.encode({"args": message.args, "kwargs": message.kwargs}).decode()
    )
    return [
        ("id", _text(record.id)),
        ("task", _text(record.name)),
        ("queue", _text(record.queue)),
        ("state", _state(record.state)),
        ("arguments", _text(arguments)),
        ("tries", str(record.attempt)),
        ("crashes", str(record.crashes or "")),
        ("enqueued", moment(record.enqueued_at)),
        ("not before", moment(record.not_before)),
        ("started", moment(record.started_at)),
        ("finished", moment(record.finished_at)),
        ("worker", _text(record.worker)),
        ("result", _text((record.result or b"").decode())),
        ("body", _text((record.body or b"").decode(errors="backslashreplace"))),
        ("error", _text(_summary(record.error))),
        ("traceback", _text(record.error.traceback.rstrip() if record.error else "")),
    ]


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _headline(error: Trouble | None) -> Text:
    return _text(_summary(error).partition("\n")[0])


def _summary(error: Trouble | None) -> str:
    # Either may be empty: an exception need not say anything, and a reason has no type.
    return ": ".join(filter(None, (error.type, error.message))) if error else ""


def _state(state: State) -> Text:
    return Text(state.value, _STYLES.get(state, ""))


def _text(text: str) -> Text:
    """Return what somebody else has written, with nothing in it that a terminal would obey."""
    return Text("".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text))
