"""A program that is a worker with one job, and tells on its standard output how far it is."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time

import anyio

from jockey.jobs import App, Context, Worker

backend, path, kind, *rest = sys.argv[1:]
# Nobody but whoever kills it wants its lease to end soon: a process that stands still for a moment would lose its job.
lease = float(rest[0]) if rest else 3600.0
app = App(f"sqlite:///{path}")


def tell(*what: str) -> None:
    print(*what, flush=True)


class Told(logging.Handler):
    """Tell when the worker has understood a signal."""

    def emit(self, record: logging.LogRecord) -> None:
        if "takes nothing new" in record.msg:
            asked.set()
            tell("asked")


asked = threading.Event()
logging.getLogger("jockey.jobs").addHandler(Told())
logging.getLogger("jockey.jobs").setLevel(logging.INFO)


def block() -> None:
    """Keep the event loop from all else, and tell when the next signal is the system's business."""
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        time.sleep(0.01)
    tell("deaf")
    while True:
        signal.pause()


@app.task
async def work(context: Context, kind: str) -> None:
    tell("ready")
    if kind == "blocking":
        block()
    if kind == "patient":
        while not asked.is_set():
            await anyio.sleep(0.01)
        tell("finished")
        return
    try:
        await anyio.sleep_forever()
    finally:
        if kind == "stubborn":
            tell("cancelled")
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()


async def main() -> None:
    async with app:
        await work.enqueue(kind)
        counts = await Worker(app, lease=lease).run()
    tell(f"taken={counts.taken}", f"succeeded={counts.succeeded}", f"released={counts.released}")


anyio.run(main, backend=backend)
