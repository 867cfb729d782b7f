"""What all tests share: the async backends, the broker, and a look at what a test leaves behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest

# In what the tests import, too, assertions explain themselves, and survive `python -O`.
HERE = Path(__file__).parent
HELPERS = [path.relative_to(HERE.parent).with_suffix("") for path in HERE.rglob("*.py") if path.stem != "conftest"]
pytest.register_assert_rewrite(*(".".join(path.parts) for path in HELPERS))

# Now, and under these names.
from tests.distribution import pytest_collection_modifyitems as pytest_collection_modifyitems  # noqa: E402, PLC0414
from tests.distribution import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler  # noqa: E402, PLC0414
from tests.fuzz.options import pytest_addoption as pytest_addoption  # noqa: E402, PLC0414

# In asyncio's debug mode each step that is slow is a warning, which tells about the machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)

# A shell that runs the tests in the background has them ignore Ctrl-C, and the programs that they start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

IN_CI = bool(os.environ.get("CI"))

# Examples are not timed: a slow machine is no bug. In CI the same ones are tried each time, so that a red run can be
# repeated; `--hypothesis-profile=thorough` is for a night.
UNTIMED: Any = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", **UNTIMED)
hypothesis.settings.register_profile("ci", **UNTIMED, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("thorough", **UNTIMED, max_examples=5_000)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


def pytest_collection_finish() -> None:
    """Spare the search for garbage the half a million objects of what is imported and collected: they stay."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write out the halves of characters that a test has logged: xdist cannot send them, and would end the run."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_make_parametrize_id(val: object) -> str:
    """Name parameters without addresses: the workers of xdist must agree on the names of all tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(val) if isinstance(val, str) else repr(val))


def new_eager_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop in which a task starts to run at once, inside the very call that creates it."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    return loop


def backends() -> Iterator[tuple[str, dict[str, Any]]]:
    """List the async backends that this Python has, as anyio's pytest plugin wants them."""
    yield "asyncio", {"loop_factory": asyncio.new_event_loop}
    if sys.version_info >= (3, 12):
        yield "asyncio", {"loop_factory": new_eager_loop}
    if find_spec("uvloop") is not None:
        import uvloop

        yield "asyncio", {"loop_factory": uvloop.new_event_loop}
    yield "trio", {}


def name_of(backend: tuple[str, dict[str, Any]]) -> str:
    name, options = backend
    factory: Callable[..., object] | None = options.get("loop_factory")
    if factory is new_eager_loop:
        return "eager"
    return "uvloop" if factory is not None and factory.__module__.startswith("uvloop") else name


@pytest.fixture(params=list(backends()), ids=name_of)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run the test once on each async backend.

    Async tests say `pytestmark = pytest.mark.anyio`; a module that is about one backend overrides this fixture.
    """
    return request.param


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    """Fail the test that leaves a thread running; those of a closed event loop get the time to end."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if not is_kept_for_reuse(thread):
            thread.join(timeout=45)  # less than the test may take, so that it is told which one it is
            assert not thread.is_alive(), f"{thread} still runs after the test"


def is_kept_for_reuse(thread: threading.Thread) -> bool:
    """Tell whether trio keeps this idle thread for the next call; it ends by itself after a while."""
    return thread.name.startswith("Trio thread")


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """Return where RabbitMQ is, from `AMQP_URL` or the usual place; skip without it, but never in CI."""
    url = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "localhost", address.port or 5672), timeout=5).close()
    except OSError as exc:
        reason = f"no RabbitMQ at {address.hostname}:{address.port}: {exc}"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)
    return url


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Return the root of all loggers, and put back afterwards what was in it."""
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)
    logging.getLogger("watchfiles").setLevel(logging.NOTSET)
