"""
A shop that sends letters: jobs are enqueued by one program and done by another, on a file of SQLite.

Shows tasks that are tried again, one that follows another, an order that is not taken twice, and a worker that ends
when it is told to. Kill it at any moment: nothing is lost.

    pip install 'jockey[cli]'
    python examples/job_queue.py order 7 ada    # enqueue, and print what becomes of it
    python examples/job_queue.py work           # in another terminal: a worker, until Ctrl-C
    cd examples && jockey worker job_queue:app  # the same with the command, which can do more

The environment variable JOBS names another broker; the default is sqlite:///shop.db.
"""

import logging
import os
import sys

import anyio

from jockey import jobs

app = jobs.App(os.environ.get("JOBS", "sqlite:///shop.db"))

PRICES = {"chair": 80, "table": 250}


@app.task(queue="orders", timeout=30)
async def price(articles: list[str]) -> int | jobs.Failure:
    """Return what it costs, or fail if there is no such thing."""
    missing = [article for article in articles if article not in PRICES]
    if missing:
        return jobs.Failure(f"not in the shop: {', '.join(missing)}")
    return sum(PRICES[article] for article in articles)


@app.task(queue="mail", retry=jobs.Retry(max_tries=5, delay=0.2, mode="exponential", on=(ConnectionError,)))
async def send_bill(context: jobs.Context, amount: int, to: str) -> str:
    """Send a letter; the post does not answer at the first try."""
    if context.attempt == 1:
        raise ConnectionError("the post does not answer")
    return f"{to} pays {amount}"


@app.task(queue="mail")
async def send_regrets(trouble: jobs.Trouble, to: str) -> None:
    """Say what went wrong."""
    print(f"{to} gets a letter: {trouble.message}", flush=True)


async def order(number: int, to: str, articles: list[str]) -> None:
    """Enqueue an order, unless it is there already, and wait for its end."""
    begin = price.options(id=f"order:{number}", on_failure=send_regrets.s(to=to))
    async with app:
        job = await (begin.s(articles) >> send_bill.s(to=to)).enqueue()
        print(f"order {number} is {'new' if job.is_new else 'known'}", flush=True)
        try:
            print(await job.result(timeout=60))
        except jobs.JobFailedError as error:
            print(f"no bill: {error.trouble.message}")


async def work() -> None:
    """Work until a signal."""
    counts = await jobs.Worker(app).run()
    print(f"{counts.succeeded} succeeded, {counts.retried} were tried again, {counts.dead} are dead")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work"]:
            logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
            anyio.run(work)
        case ["order", number, to, *articles]:
            anyio.run(order, int(number), to, articles or ["chair", "table"])
        case _:
            sys.exit(__doc__)
