"""The producer of a crash loop: `python -m tests.jobs.crash_loop.producer URL QUEUE DIRECTORY`; SIGTERM ends it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio

from jockey.jobs import JobsError
from tests.jobs.crash_loop.journal import Journal
from tests.jobs.crash_loop.worker import app_of

AT_ONCE = 4
PAUSE = 0.04
"""Seconds: a hundred jobs per second."""


async def main(*arguments: str) -> None:
    """Send jobs, and note those of which the broker has said that it has them."""
    url, queue, directory = arguments
    confirmed = Journal(Path(directory, "confirmed"))
    app = app_of(url, queue, Journal(Path(directory, "effects")))
    work = app.tasks["work"]
    number = 0
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with app, anyio.create_task_group() as tasks:

            async def until_asked() -> None:
                await anext(signals)
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_asked)
            while True:
                numbers = list(range(number, number + AT_ONCE))
                number += AT_ONCE
                try:
                    await work.enqueue_many(work.s(each) for each in numbers)
                except JobsError:
                    pass  # nobody knows whether they have arrived: nothing is promised of them
                else:
                    confirmed.write("sent", numbers)
                await anyio.sleep(PAUSE)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:4])
