"""All commands, and what they have in common."""

from __future__ import annotations

import click

import jockey as library
from jockey.jobs._cli._dead import dead
from jockey.jobs._cli._enqueue import enqueue
from jockey.jobs._cli._examples import examples
from jockey.jobs._cli._jobs import cancel, job, jobs
from jockey.jobs._cli._queues import purge, status
from jockey.jobs._cli._worker import worker


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "jockey worker shop:app --processes 4",
        "export JOCKEY_APP=shop:app",
        "jockey status --watch",
        "jockey dead list --json",
    ),
)
@click.version_option(package_name=library.__name__, message="%(package)s %(version)s")
def jockey() -> None:
    """
    Run the workers of a job queue, and look after its jobs.

    An app is named as MODULE:NAME, such as shop:app, and looked for from the current directory. Where no code is
    needed, the URL of its broker does as well, such as sqlite:///jobs.db. All commands but worker and enqueue have it
    from --app, or from the variable JOCKEY_APP.

    They exit with 0 if all went well, with 1 if what was asked for failed, and with 2 if the command was wrong.
    """


for command in (worker, enqueue, status, jobs, job, cancel, dead, purge):
    jockey.add_command(command)
