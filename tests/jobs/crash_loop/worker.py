"""A worker of a crash loop: `python -m tests.jobs.crash_loop.worker URL QUEUE DIRECTORY asyncio|trio`."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio

from jockey.jobs import App, BrokerUnavailableError, Worker
from jockey.jobs.brokers import rabbitmq
from jockey.jobs.brokers.rabbitmq_intake import Ending, Intake
from tests.jobs.crash_loop.journal import Journal

LEASE = 3.0
"""Seconds; on RabbitMQ a third of it is the heartbeat."""

LONGEST_JOB = 0.05
"""Seconds."""

UNAVAILABLE = 75
"""The exit code for: try again later."""


def app_of(url: str, queue: str, journal: Journal) -> App[Any]:
    """Return the app that all processes of the loop share; its jobs append what they do to *journal*."""
    app = App(url)

    @app.task(queue=queue, name="work")
    async def work(number: int) -> None:
        journal.write("begun", [number])
        await anyio.sleep(random.uniform(0, LONGEST_JOB))
        journal.write("done", [number])

    return app


def watch(journal: Journal) -> None:
    """Note whenever the process, the machine or its disk has stood still: a reason for leases to end."""
    while True:
        before = time.monotonic()
        time.sleep(LEASE / 20)
        journal.sync()
        if time.monotonic() - before > LEASE / 5:
            journal.write("still", [0])


class LostLeases(logging.Handler):
    """Note that the worker says that leases were lost: if there was reason to, its jobs may run once more."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)
        # The connection was lost, a lease was, or `LeaseLostError` is why a job could not be settled.
        if "lost" in record.getMessage().lower():
            self._journal.write("lost", [0])


class NotedIntake(Intake):
    """Note what is about to be put elsewhere: who is killed before the acknowledgement leaves two of it."""

    journal: Journal

    async def _publish(self, ending: Ending) -> Exception | None:
        message = ending.delivery.message
        self.journal.write("moved", [message.args[0]] if message else [])
        return await super()._publish(ending)


async def main(*arguments: str) -> None:
    url, queue, directory = arguments
    journal = Journal(Path(directory, "effects"))
    logging.getLogger("jockey").addHandler(LostLeases(journal))
    NotedIntake.journal = journal
    vars(rabbitmq)["Intake"] = NotedIntake
    threading.Thread(target=watch, args=[journal], daemon=True).start()
    try:
        await Worker(app_of(url, queue, journal), max_jobs=4, lease=LEASE, graceful_shutdown_time=1).run()
    except BrokerUnavailableError as error:
        # It waits for its broker, and not if that refuses it, as it may while it starts.
        print(error, file=sys.stderr)
        sys.exit(UNAVAILABLE)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:4], backend=sys.argv[4])
