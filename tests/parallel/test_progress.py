"""Progress: told to a function, or shown on a terminal, and nothing is left of that."""

from __future__ import annotations

import functools
import importlib.util
import io
import itertools
import sys
from typing import Any

import pytest

import jockey
from jockey import ExecuteIn, RegistrationError
from jockey._parallel import _bar
from jockey._parallel._bar import Bar
from tests.parallel.functions import square

THREAD = ExecuteIn.THREAD


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(items: Any = range(3), **options: Any) -> list[int]:
    return list(jockey.map(square, items, execute_in=THREAD, batch=1, **options))


def test_function_is_told_of_each_item_that_is_done() -> None:
    told: list[tuple[int, int | None]] = []

    run(progress=lambda done, total: told.append((done, total)))

    assert told == [(1, 3), (2, 3), (3, 3)]


def test_nobody_knows_how_many_items_an_iterator_has() -> None:
    told: list[tuple[int, int | None]] = []

    run(iter(range(2)), progress=lambda done, total: told.append((done, total)))

    assert told == [(1, None), (2, None)]


def test_function_that_raises_ends_the_map() -> None:
    def refuse(done: int, total: int | None) -> None:
        raise ValueError("no more, please")

    with pytest.raises(ValueError, match="no more, please"):
        run(itertools.count(), progress=refuse)


def test_items_that_fail_are_done_too() -> None:
    told: list[int] = []

    list(
        jockey.map(
            lambda n: 1 // n, [0, 1], execute_in=THREAD, on_error="skip", progress=lambda done, _: told.append(done)
        )
    )

    assert told == [1, 2]


def test_bar_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, output = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    # The rate is that of the last half minute, and unknown if only one item was done in it.
    tick = itertools.count(0.0, 0.001).__next__
    monkeypatch.setattr(_bar, "Progress", functools.partial(_bar.Progress, get_time=tick))

    assert run(range(1500), progress=True)[-1] == 1499 * 1499

    assert "1500/1500" in terminal.getvalue()
    assert "/s" in terminal.getvalue()
    assert output.getvalue() == ""


def test_what_is_printed_meanwhile_goes_to_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, output = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("TERM", "xterm")

    for result in jockey.map(square, [3], execute_in=THREAD, progress=True):
        print("result", result)

    assert output.getvalue() == "result 9\n"


def test_bar_is_removed_when_the_map_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    with pytest.raises(ZeroDivisionError):
        list(jockey.map(lambda n: 1 // n, [1, 0], execute_in=THREAD, progress=True))

    assert sys.stderr is terminal
    assert terminal.getvalue().count("\x1b[?25h") == terminal.getvalue().count("\x1b[?25l")  # the cursor is there


@pytest.mark.parametrize("stderr", [io.StringIO(), None])
def test_bar_is_quiet_where_there_is_no_terminal(stderr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)

    assert run(progress=True) == [0, 1, 4]

    assert stderr is None or stderr.getvalue() == ""


def test_rate_is_empty_as_long_as_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setenv("TERM", "xterm")

    with Bar(None):
        pass

    assert "/s" not in terminal.getvalue()


def test_bar_needs_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(RegistrationError, match="pip install 'jockey\\[progress\\]'"):
        jockey.map(square, [], progress=True)


@pytest.mark.parametrize("progress", [False, None])
def test_there_may_be_none(progress: Any) -> None:
    assert run(progress=progress) == [0, 1, 4]
