"""Options that several commands have."""

from __future__ import annotations

from typing import Final

import click

from jockey.jobs._cli._find import AppName

app_option: Final = click.option(
    "--app",
    "app",
    type=AppName(or_url=True),
    envvar="JOCKEY_APP",
    show_envvar=True,
    required=True,
    metavar="APP",
    help="MODULE:NAME of the app, or the URL of its broker.",
)

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")

queue_option: Final = click.option("--queue", metavar="QUEUE", help="Only of this queue.")

count_option: Final = click.option(
    "--count", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many, the newest first."
)

yes_option: Final = click.option("--yes", "is_sure", is_flag=True, help="Do not ask whether you are sure.")
