"""How a worker begins when its broker is away, or refuses."""

from __future__ import annotations

import logging
import pickle
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs import App, BrokerUnavailableError, QueueNotDeclaredError, WorkerCounts
from jockey.jobs._broker import Hearing, QueueInfo
from tests.core.story import simulated
from tests.jobs.shop import Faulty, app_of, burst
from tests.jobs.test_cli_worker import Running
from tests.jobs.test_cli_worker import folder as folder  # noqa: PLC0414 - a fixture
from tests.jobs.test_shutdown import run_and_press

AWAY = BrokerUnavailableError("connection refused", is_away=True)
REFUSED = BrokerUnavailableError("wrong password")


class Distant(Faulty):
    """
    A broker that cannot be reached at first.

    Attributes:
        faults: What the next calls of each method raise, None for those that do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, list[Exception | None]] = {"open": [], "declare": [], "info": [], "consume": []}

    async def open(self) -> None:
        self._fail(self.faults["open"])
        await self.inner.open()

    async def declare(self, queue: str) -> None:
        self._fail(self.faults["declare"])
        await self.inner.declare(queue)

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        self._fail(self.faults["info"])
        return await self.inner.info(queue)

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], hearing: Hearing, **terms: Any) -> AsyncGenerator[Any]:
        self._fail(self.faults["consume"])
        async with super().consume(queues, hearing, **terms) as source:
            yield source


def shop_of(broker: Any, **options: Any) -> App[Any]:
    app = app_of(broker, **options)

    @app.task
    async def work() -> None:
        pass

    return app


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(": ")[2] for record in caplog.records if record.name == "jockey.jobs"]


IS_AWAY = "the broker is away, what runs goes on meanwhile: connection refused"


@pytest.mark.parametrize("step", ["open", "declare", "consume"])
@simulated
async def test_a_worker_waits_for_a_broker_that_is_away_at_its_start(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker = Distant()
    broker.faults[step] = [AWAY] * 9

    counts = await burst(shop_of(broker), name="me")

    assert counts == WorkerCounts()
    assert broker.faults[step] == []
    assert told(caplog)[:3] == [IS_AWAY, "the broker is back", "takes from default"]
    assert anyio.current_time() > 5


@pytest.mark.parametrize("step", ["declare", "consume"])
@simulated
async def test_a_worker_waits_at_its_start_when_the_app_was_opened_before(step: str) -> None:
    broker = Distant()
    app = shop_of(broker)

    async with app:
        broker.faults[step] = [AWAY]
        await app.tasks["work"].enqueue()
        counts = await burst(app)

    assert counts.succeeded == 1
    assert broker.faults[step] == []


@pytest.mark.parametrize("step", ["open", "declare", "consume"])
@simulated
async def test_a_signal_ends_the_waiting_at_once(step: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = Distant()
    broker.faults[step] = [AWAY] * 1_000

    counts, took = await run_and_press(shop_of(broker), 60, name="me")

    assert counts == WorkerCounts()
    assert took == pytest.approx(60)
    assert not broker.sources
    assert told(caplog)[0] == IS_AWAY
    assert told(caplog)[-1] == f"has ended: {WorkerCounts()}"
    assert "the broker is back" not in told(caplog)


@simulated
async def test_a_signal_ends_a_try_to_connect_that_takes_long() -> None:
    entered: list[str] = []

    class Silent(Distant):
        async def open(self) -> None:
            await anyio.sleep(1_000)

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        entered.append("lifespan")
        yield

    counts, took = await run_and_press(shop_of(Silent(), lifespan=lifespan), 5)

    assert counts == WorkerCounts()
    assert took == pytest.approx(5)
    assert not entered


@pytest.mark.parametrize("step", ["open", "declare", "consume"])
@simulated
async def test_a_broker_that_refuses_is_an_error_at_once(step: str) -> None:
    broker = Distant()
    broker.faults[step] = [AWAY, REFUSED]

    with pytest.raises(BrokerUnavailableError, match="wrong password"):
        await burst(shop_of(broker))


@pytest.mark.parametrize("scheme", ["memory", "sqlite", "amqp"])
@pytest.mark.anyio
@pytest.mark.broker
async def test_a_queue_that_nobody_declares_is_an_error_with_each_broker(
    scheme: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/jobs.db"}
    url = urls.get(scheme) or request.getfixturevalue("amqp_url")

    with pytest.raises(
        QueueNotDeclaredError, match=r"there is no queue 'nowhere', .*await app.queues.declare\('nowhere'\)"
    ):
        await burst(App(url, auto_declare=False), queues=["nowhere"])


@simulated
async def test_a_worker_waits_for_a_broker_that_cannot_tell_yet_whether_a_queue_is_there() -> None:
    broker = Distant()
    app = shop_of(broker, auto_declare=False)

    async with app:
        await broker.inner.declare("default")
        broker.faults["info"] = [AWAY]
        await app.tasks["work"].enqueue()
        counts = await burst(app)

    assert counts.succeeded == 1
    assert broker.faults["info"] == []


@simulated
async def test_a_program_hears_at_once_that_the_broker_is_away() -> None:
    broker = Distant()
    broker.faults["open"] = [AWAY]

    with pytest.raises(BrokerUnavailableError, match="connection refused"):
        async with shop_of(broker):
            pass


def test_an_error_that_was_pickled_still_says_whether_the_broker_is_away() -> None:
    error = pickle.loads(pickle.dumps(AWAY))  # noqa: S301 - our own

    assert (str(error), error.is_away) == ("connection refused", True)
    assert not BrokerUnavailableError("refused").is_away


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_command_waits_until_it_is_told_to_end(folder: Any, backend: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        shop = (
            (folder / "shop.py").read_text().replace("sqlite:///jobs.db", f"amqp://127.0.0.1:{nobody.getsockname()[1]}")
        )
        (folder / "shop.py").write_text(shop)
        running = Running("--backend", backend)
        try:
            while not any("the broker is away" in line for line in running.logs):
                assert running.process.poll() is None, running.logs
                time.sleep(0.01)
            running.process.terminate()
            assert running.rest() == []
            assert running.process.wait() == 0
        finally:
            running.close()
    assert not any("Traceback" in line for line in running.logs)
