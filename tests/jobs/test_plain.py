"""Numbers and texts that cannot travel are refused before anything is queued; in failures they end no worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jockey import RegistrationError, jobs
from jockey.jobs._codec import decode, encode
from jockey.jobs._errors import ArgumentsError, DecodeError
from jockey.jobs._message import Message
from jockey.jobs._plain import MAX_DIGITS, UnfitError, shown, to_json, valid

pytestmark = pytest.mark.anyio

LARGEST = 10**MAX_DIGITS - 1
HALF = "\ud800"
"""Half a character, such as Python makes of a name of a file that is no text."""


def test_largest_number_is_written_and_read_again() -> None:
    for number in (LARGEST, -LARGEST):
        message = Message(id="1", name="a", args=(number,))
        assert decode(encode(message)) == message
        assert to_json(number) == str(number).encode()

    with pytest.raises(DecodeError):
        decode(b'{"name": "a", "args": [-1%s]}' % (b"0" * MAX_DIGITS))


@pytest.mark.parametrize(
    "value",
    [LARGEST + 1, -LARGEST - 1, [LARGEST + 1], {"a": (LARGEST + 1,)}],
    ids=["large", "small", "in a list", "in a dict"],
)
def test_larger_numbers_do_not_fit(value: object) -> None:
    with pytest.raises(UnfitError, match="more than 4299 digits; send it as text"):
        to_json(value)


def test_larger_numbers_can_be_talked_of() -> None:
    assert shown([1, LARGEST + 1]) == "[1, <a number of more than 4299 digits>]"


def test_halves_of_characters_are_written_out() -> None:
    assert [valid(text) for text in ("text", "sch\u00f6n", f"a{HALF}b")] == ["text", "sch\u00f6n", "a\\ud800b"]


@pytest.fixture(params=["memory", "sqlite"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[jobs.App]:
    app = jobs.App("memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}")

    @app.task
    async def number(value: int, *, other: int = 0) -> None: ...

    @app.task
    async def anything(value: Any) -> None: ...

    @app.task(group=lambda value: value)
    async def grouped(value: str) -> None: ...

    @app.task(group=lambda _: HALF)
    async def badly_grouped(value: str) -> None: ...

    @app.task(unique=lambda _: HALF)
    async def badly_unique(value: str) -> None: ...

    async with app:
        yield app


Call = Callable[[jobs.App], Awaitable[object]]


ARGUMENTS: list[Call] = [
    lambda app: app.tasks["number"].enqueue(LARGEST + 1),
    lambda app: app.tasks["number"].enqueue(1, other=-LARGEST - 1),
    lambda app: app.tasks["number"].enqueue_many([app.tasks["number"].s(LARGEST + 1)]),
    lambda app: app.tasks["anything"].enqueue(LARGEST + 1),
    lambda app: app.tasks["anything"].enqueue([LARGEST + 1]),
    lambda app: app.enqueue("elsewhere", [LARGEST + 1]),
    lambda app: app.enqueue("elsewhere", [HALF]),
    lambda app: app.enqueue(HALF),
    lambda app: app.tasks["anything"].enqueue(HALF),
    lambda app: app.tasks["grouped"].enqueue(HALF),
    lambda app: app.tasks["badly_grouped"].enqueue("a"),
    lambda app: app.tasks["badly_unique"].enqueue("a"),
]


async def test_arguments_that_cannot_travel_are_refused(app: jobs.App) -> None:
    for call in ARGUMENTS:
        with pytest.raises(ArgumentsError, match=r"more than 4299 digits|UTF-8|utf-8"):
            await call(app)

    assert await app.queues.size("default") == 0


NAMES: list[Call] = [
    lambda app: app.tasks["anything"].options(id=HALF).enqueue(1),
    lambda app: app.tasks["anything"].options(group=HALF).enqueue(1),
    lambda app: app.tasks["anything"].options(unique=HALF).enqueue(1),
    lambda app: app.enqueue("elsewhere", queue=HALF),
    lambda app: app.tasks["anything"].options(on_success=HALF).enqueue(1),
    lambda app: app.tasks["anything"].job(HALF).status(),
    lambda app: app.job(HALF).status(),
    lambda app: app.queues.declare(HALF),
    lambda app: app.queues.info(HALF),
    lambda app: app.queues.peek(HALF),
    lambda app: app.queues.purge(HALF),
    lambda app: app.queues.delete(HALF),
    lambda app: app.dead.list(HALF),
    lambda app: app.dead.replay(HALF),
    lambda app: app.dead.drop(HALF),
    lambda app: anext(app.records(queue=HALF)),
]


async def test_names_that_cannot_travel_are_refused(app: jobs.App) -> None:
    for call in NAMES:
        with pytest.raises(RegistrationError, match=r"UTF-8 can write, got '\\ud800'|name of a task, got '\\ud800'"):
            await call(app)


def test_names_of_tasks_and_queues_are_texts_that_can_be_written() -> None:
    for options in ({"name": HALF}, {"queue": HALF}, {"queue": ["a", HALF]}, {"group": HALF}):
        with pytest.raises(RegistrationError, match="must be a text that UTF-8 can write, got"):
            jobs.App().task(**options)


@pytest.mark.parametrize("name", ["a\0b", "x" * 10_000, " ", "sch\u00f6n \U0001f600"], ids=ascii)
async def test_other_texts_are_as_good_as_any(app: jobs.App, name: str) -> None:
    await app.queues.declare(name)

    options: Any = {"queue": name, "id": name, "group": name, "unique": name}
    job = await app.enqueue(name, [name], **options)
    twin = await app.enqueue(name, **options | {"id": "another"})

    assert (job.id, twin.id, twin.is_new) == (name, name, False)
    [record] = await app.queues.peek(name)
    assert record.message is not None
    assert (record.id, record.name, record.queue, record.message.args) == (name, name, name, (name,))
    assert await job.cancel(f"no{HALF}")
    error = (await job.record()).error
    assert error is not None
    assert error.message == "no\\ud800"


async def test_failure_that_cannot_be_written_ends_its_job_all_the_same(app: jobs.App) -> None:
    @app.task(retry=jobs.Retry(max_tries=2, delay=0))
    async def raises() -> None:
        raise ValueError(HALF)

    @app.task
    async def fails() -> jobs.Failure:
        return jobs.Failure(HALF)

    @app.task
    async def returns() -> int:
        return LARGEST + 1

    @app.task
    async def passes_on() -> jobs.Failure:
        error: Any = ValueError("because")
        return jobs.Failure(error)

    for task in (raises, fails, returns, passes_on):
        await task.enqueue()
    counts = await jobs.Worker(app, burst=True, handle_signals=()).run()

    assert (counts.taken, counts.retried, counts.dead) == (5, 1, 4)
    errors = {record.name: record.error for record in await app.dead.list()}
    assert {name: error.message for name, error in errors.items() if error is not None} == {
        "raises": "\\ud800",
        "fails": "\\ud800",
        "passes_on": "because",
        "returns": "the result of task 'returns' cannot be kept: a whole number in it has more than 4299 digits; "
        "send it as text; the value is <a number of more than 4299 digits>",
    }
    assert "\\ud800" in (errors["raises"] or jobs.Trouble()).traceback
