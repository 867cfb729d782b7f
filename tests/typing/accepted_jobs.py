"""What type checkers must accept of the jobs layer, and what they must make of it; a test imports it."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import jockey
from jockey import jobs


@dataclass
class Services:
    address: str


app = jobs.App[Services]("memory://")
plain = jobs.App("memory://")
router = jobs.Router(queue="mail", retry=jobs.Retry(max_tries=3), timeout=timedelta(seconds=5))
stateful = jobs.Router[Services](queue=["mail", "slow"])

# Declaring: bare and with options, async and not, with and without a context


@app.task
async def send(to: str, *, subject: str = "hello") -> int:
    return len(to + subject)


@app.task(queue="mail", retry=jobs.Retry.exponential(max_tries=5), timeout=60, unique=["to"], unique_for=60)
async def send_later(context: jobs.Context[Services], to: str, *, copies: int = 1) -> list[str]:
    assert_type(context.state, Services)
    assert_type(context.is_last_attempt, bool)
    return [to] * copies


def one_per_image(image: str, width: int) -> str | None:
    return image if width else None


@router.task(name="shrink", group=one_per_image, max_jobs=2)
def resize(image: str, width: int) -> str:
    return image[:width]


@router.task
def describe(context: jobs.Context, image: str) -> None:
    assert_type(context.state, object)
    print(image)


@stateful.task(limits=[jockey.Limit("disk", 1)], priority=jobs.Priority.LOW, on_success=describe, on_failure="alert")
def store(context: jobs.Context[Services], image: str, /, *names: str, **labels: int) -> float | jobs.Failure:
    return jobs.Failure(context.state.address) if names else float(len(labels))


@router.task(execute_in=jobs.ExecuteIn.PROCESS, result_ttl=0)
def total(numbers: list[str]) -> int:
    return len(numbers)


@router.task
async def alert(error: jobs.Trouble) -> None:
    print(error.message)


app.include(router)
app.include(stateful)
app.include(jobs.Router(), replace=True)
plain.include(jobs.Router())
convert = app.command("convert", ["convert", "-strip"], env={"LANG": "C"}, timeout=30)

# What was declared is still the function


async def calls(context: jobs.Context[Services]) -> None:
    coroutine: Coroutine[Any, Any, int] = send("a", subject="b")
    assert_type(await coroutine, int)
    assert_type(await send_later(context, "a"), list[str])
    assert_type(resize("a", width=2), str)
    assert_type(store(context, "a", "b", c=1), float | jobs.Failure)


# Enqueueing


async def enqueue() -> None:
    job = await send.enqueue("a@b.c", subject="hi")
    assert_type(job, jobs.Job[int])
    assert_type(await job.result(timeout=10), int)
    assert_type(await job.status(), jobs.State)
    assert_type(await job.cancel("no longer"), bool)
    assert_type(await send_later.enqueue("a", copies=2), jobs.Job[list[str]])
    assert_type(await resize.enqueue(image="a", width=2), jobs.Job[str])
    assert_type(await store.enqueue("a", "b", "c", d=1), jobs.Job[float])
    later = send.options(delay=30, priority=jobs.Priority.HIGH, id="welcome:7").options(timeout=None, retry=lambda n: n)
    assert_type(await later.enqueue("a"), jobs.Job[int])
    assert_type(await send.options(at=datetime.now(UTC)).enqueue("a"), jobs.Job[int])
    assert_type(await send.enqueue_many(send.s(to) for to in "ab"), list[jobs.Job[int]])
    assert_type(send.job("some id"), jobs.Job[int])
    assert_type(await app.enqueue("elsewhere", [1], {"two": 2}, queue="far"), jobs.Job[Any])
    await convert.enqueue(anything=1)


def takes_any_task(task: jobs.Task[[str, int], str]) -> jobs.Signature[str]:
    return task.s("a", 1)


takes_any_task(resize)

# Workflows


async def workflows() -> None:
    head = resize.s("a", 1)
    assert_type(head, jobs.Signature[str])
    assert_type(resize.si("a", 1), jobs.Signature[str])
    assert_type(head >> resize.s(width=3) >> send.s(subject="done"), jobs.Signature[int])
    assert_type(await (head >> send.s()).enqueue(), jobs.Job[int])
    assert_type(head >> jobs.group(resize.s("b", 1), resize.s("c", 1)), jobs.Group[str])
    assert_type(jobs.group(resize.s("b", 1)) >> total.s(), jobs.Signature[int])
    assert_type(await jobs.group(resize.s("b", 1)).enqueue(), list[jobs.Job[str]])
    assert_type(head >> jobs.group(send.s(), send.s(subject="b")) >> send.s("all"), jobs.Signature[int])
    assert_type(jobs.chain(head, send.s(), send.s("a"), on_failure=alert.s()), jobs.Signature[int])
    assert_type(head.on_failure([alert, "notify"]), jobs.Signature[str])
