"""Each command that the documentation shows is one that there is, with options that it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from jockey.jobs._cli import jockey

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "job_queue.py"]

# In a line of a shell or of a unit of systemd, in a list of YAML, in backticks or in a comment.
NAMES = "|".join(jockey.commands)
LINE = re.compile(rf"(?:^|/|&& |: |`)jockey ((?:{NAMES})\b[^`#\n]*)", re.MULTILINE)
LIST = re.compile(r'\["jockey", ([^\]]*)\]')


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in LINE.findall(text):
            yield page.name, found.strip()
        for found in LIST.findall(text):
            yield page.name, " ".join(found.replace('"', "").split(", "))


def parse(command: click.Command, words: list[str]) -> None:
    """Read the command line as click does, without importing an app."""
    if isinstance(command, click.Group) and words:
        name, *rest = words
        assert name in command.commands, f"there is no command {name!r}"
        parse(command.commands[name], rest)
    elif words and words != ["--help"]:
        command.make_parser(click.Context(command)).parse_args(words)


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_the_command_exists(page: str, command: str) -> None:
    parse(jockey, shlex.split(command))


def test_commands_are_found_on_the_page_about_deploying() -> None:
    found = [command for page, command in commands() if page == "job-deploying.md"]

    assert len(found) >= 6
    assert "worker shop:app --max-jobs 32 --log-format json" in found


def test_what_does_not_exist_is_noticed() -> None:
    with pytest.raises(AssertionError, match="no command 'wroker'"):
        parse(jockey, ["wroker"])
    with pytest.raises(click.NoSuchOption):
        parse(jockey, ["worker", "shop:app", "--threads", "4"])
