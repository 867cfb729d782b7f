"""What boilermaker's guide shows of tasks, callbacks, chains and retries, example by example, holds here."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs import App, Context, Failure, JobFailedError, Retry, RetryLater, Trouble, chain
from tests.core.story import simulated
from tests.jobs.shop import app_of, burst, working


class Scene:
    """An app with the tasks of the guide, and the story that they tell."""

    def __init__(self) -> None:
        self.app = app_of()
        self.story: list[str] = []

        @self.app.task
        async def background(param: str) -> str | Failure:
            self.story.append(param)
            if param == "success":
                return "going really well"
            if param == "fail":
                return Failure("it did not work out")
            raise ValueError("exceptions are a bummer")

        @self.app.task
        async def happy_path() -> None:
            self.story.append("happy")

        @self.app.task
        async def sad_path() -> None:
            self.story.append("sad")

        @self.app.task
        async def told(trouble: Trouble) -> None:
            self.story.append(trouble.message)

        self.background, self.happy_path, self.sad_path, self.told = background, happy_path, sad_path, told


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Tasks


@simulated
async def test_a_task_gets_the_state_of_the_app_and_its_own_arguments() -> None:
    seen: list[object] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, str]]:
        yield {"key": "value"}

    app = App[dict[str, str]](lifespan=lifespan, clock=anyio.current_time)

    @app.task
    async def background_task1(context: Context[dict[str, str]], somearg: str, *, somekwarg: bool = True) -> None:
        seen.extend((context.state.get("key"), somearg, somekwarg))

    async with app:
        await background_task1.enqueue("first-arg", somekwarg=False)
        await burst(app)

    assert seen == ["value", "first-arg", False]


@simulated
async def test_a_function_that_is_there_is_registered_by_a_call_and_stays_what_it_is() -> None:
    app, done = app_of(), list[str]()

    async def background_task1(somearg: str, somekwarg: bool = True) -> None:  # noqa: FBT001, FBT002 - the example's
        done.append(f"{somearg} {somekwarg}")

    task = app.task(retry=Retry.never)(background_task1)
    async with app:
        await task.enqueue("first-arg", somekwarg=False)
        await app.enqueue("background_task1", ["second"])
        await background_task1("here")
        await burst(app, max_jobs=1)

    assert done == ["here True", "first-arg False", "second True"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_one_process_schedules_another_one_runs(backend: str, tmp_path: Path) -> None:
    def app_with(done: list[str]) -> App[Any]:
        app = App(f"sqlite:///{tmp_path}/jobs.db")

        @app.task
        async def background_task1(somearg: str) -> None:
            done.append(somearg)

        return app

    async def publish() -> None:
        async with app_with([]) as producer:
            await producer.enqueue("background_task1", ["first-arg"])

    done: list[str] = []
    anyio.run(publish, backend=backend)
    anyio.run(burst, app_with(done), backend=backend)

    assert done == ["first-arg"]


@simulated
async def test_the_log_tells_of_each_task_that_has_ended_and_how_long_it_took(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "jockey.jobs"):
        async with scene.app:
            job = await scene.happy_path.enqueue()
            await burst(scene.app)

    assert any(re.fullmatch(rf"happy_path\[{job.id}\] succeeded in \d+\.\d+ s", text) for text in caplog.messages)


# Callbacks


@simulated
async def test_what_follows_a_success_runs_after_it(scene: Scene) -> None:
    async with scene.app:
        await (scene.background.s("success") >> scene.happy_path.s()).enqueue()
        await burst(scene.app)

    assert scene.story == ["success", "happy"]


@simulated
async def test_after_an_exception_the_failure_callback_runs_and_the_other_does_not(scene: Scene) -> None:
    sad = scene.background.options(on_success=scene.happy_path, on_failure=scene.sad_path)

    async with scene.app:
        await sad.enqueue("uh oh!")
        await burst(scene.app)

    assert scene.story == ["uh oh!", "sad"]


@simulated
async def test_a_failure_that_is_returned_is_one_too(scene: Scene) -> None:
    sad = scene.background.options(on_success=scene.happy_path, on_failure=[scene.sad_path, scene.told])

    async with scene.app:
        job = await sad.enqueue("fail")
        await burst(scene.app, max_jobs=1)

        with pytest.raises(JobFailedError, match="it did not work out"):
            await job.result()
    assert scene.story == ["fail", "sad", "it did not work out"]


@simulated
async def test_of_a_chain_whatever_comes_before_the_failure_runs_and_then_the_failure_callback(scene: Scene) -> None:
    workflow = chain(
        scene.background.si("success"),
        scene.happy_path.si(),
        scene.background.si("fail"),
        scene.happy_path.si(),
        on_failure=scene.sad_path.si(),
    )

    async with scene.app:
        await workflow.enqueue()
        await burst(scene.app)

    assert scene.story == ["success", "happy", "fail", "sad"]


@simulated
async def test_publishing_any_part_of_a_chain_publishes_it_from_its_head(scene: Scene) -> None:
    head = scene.background.s("success")
    whole = head >> scene.happy_path.s() >> scene.sad_path.s()

    async with scene.app:
        await whole.enqueue()
        await burst(scene.app)
        await head.enqueue()
        await burst(scene.app)

    assert scene.story == ["success", "happy", "sad", "success"]


# Retries


class Thrower:
    """A task that asks to be tried again each time, and notes when it ran."""

    def __init__(self, retry: Retry, **raised: Any) -> None:
        self.app = app_of()
        self.tries: list[float] = []
        self.sad: list[float] = []

        @self.app.task
        async def sad_path() -> None:
            self.sad.append(anyio.current_time())

        @self.app.task(retry=retry, on_failure=sad_path)
        async def throw(param: str) -> str:
            self.tries.append(anyio.current_time())
            if param == "throwing":
                raise RetryLater("we are thrown", **raised)
            if param == "broken":
                raise ValueError("broken")
            return "OK"

        self.task = throw

    async def waits(self, param: str = "throwing", **options: Any) -> list[int]:
        """Return the seconds between the tries of a job."""
        self.tries.clear()
        async with self.app, working(self.app):
            await (await self.task.options(**options).enqueue(param)).wait()
            await anyio.sleep(1)
        return [round(after - before) for before, after in itertools.pairwise(self.tries)]


@simulated
async def test_a_task_asks_for_another_try_and_the_policy_that_it_was_declared_with_says_when() -> None:
    thrower = Thrower(Retry(max_tries=5, delay=120, delay_max=120))

    assert await thrower.waits() == [120] * 4
    assert await thrower.waits("fine") == []


@pytest.mark.anyio
async def test_a_task_that_is_not_async_asks_for_another_try_too() -> None:
    app, tries = App(), list[int]()

    @app.task(retry=Retry(max_tries=3, delay=0))
    def sometask(context: Context) -> str:
        tries.append(context.attempt)
        if not context.is_last_attempt:
            raise RetryLater("Please try again!")
        return "OK"

    async with app:
        job = await sometask.enqueue()
        await burst(app)

        assert await job.result() == "OK"
    assert tries == [1, 2, 3]


@simulated
async def test_only_who_asks_is_tried_again_if_the_policy_names_no_errors() -> None:
    thrower = Thrower(Retry(max_tries=3, delay=7, on=()))

    assert await thrower.waits("broken") == []
    assert await thrower.waits("throwing") == [7, 7]


@simulated
async def test_who_is_never_retried_has_one_try() -> None:
    assert await Thrower(Retry.never).waits() == []


@simulated
async def test_failure_callbacks_run_once_all_tries_are_spent_and_at_once_then() -> None:
    thrower = Thrower(Retry(max_tries=3, delay=1000))

    await thrower.waits()

    assert len(thrower.tries) == 3
    assert [round(when - thrower.tries[-1]) for when in thrower.sad] == [0]


@simulated
async def test_a_job_can_be_scheduled_with_another_policy_and_other_jobs_keep_theirs() -> None:
    thrower = Thrower(Retry(max_tries=2, delay=5))
    other = Retry(max_tries=100, delay=2, delay_max=1000, mode="exponential")

    waits = await thrower.waits(retry=other)

    assert waits == [min(2**n, 1000) for n in range(1, 100)]
    assert await thrower.waits() == [5]


@simulated
async def test_the_policy_that_is_raised_goes_before_the_one_that_the_job_was_scheduled_with() -> None:
    thrower = Thrower(Retry(), policy=Retry(max_tries=42, delay=30, delay_max=600, mode="exponential"))
    linear = Retry(max_tries=10, delay=20, delay_max=100, mode="linear")

    assert await thrower.waits(retry=linear) == [30, 60, 120, 240, 480] + 36 * [600]


def test_delays_grow_as_the_mode_says_and_are_capped() -> None:
    def delays(mode: Any) -> list[float | None]:
        policy = Retry(max_tries=6, delay=30, delay_max=100, mode=mode)
        return [policy.next_delay(tries) for tries in range(1, 7)]

    assert delays("fixed") == [30, 30, 30, 30, 30, None]
    assert delays("linear") == [30, 60, 90, 100, 100, None]
    assert delays("exponential") == [30, 60, 100, 100, 100, None]
