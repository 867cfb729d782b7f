"""examples/web_framework.py answers as HTTP wants it, under load, in trouble and at its end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx  # noqa: ASYNC127 - as good as any for a client in a test
import pytest
import uvicorn

import jockey
from examples.web_framework import MAX_BODY, App, Request, Response, Routes
from tests.examples.endings import Endings
from tests.examples.program import rest_of, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator

    from examples.web_framework import Event

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What uvicorn runs on."""
    return "asyncio"


class Server(uvicorn.Server):
    """A server that says when it has begun to shut down."""

    def __init__(self, app: App, graceful: int | None) -> None:
        options: dict[str, Any] = {"timeout_graceful_shutdown": graceful, "timeout_keep_alive": 60, "loop": "none"}
        super().__init__(uvicorn.Config(app, lifespan="on", log_config=None, ws="none", **options))
        self.stopping = anyio.Event()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.stopping.set()
        await super().shutdown(sockets)


class Site:
    """A server that runs, and a client for it."""

    def __init__(self, app: App, server: Server, client: httpx.AsyncClient, port: int) -> None:
        self.app = app
        self.server = server
        self.client = client
        self.port = port

    async def get(self, path: str) -> tuple[int, Any]:
        response = await self.client.get(path)
        return response.status_code, response.json()

    def statistics(self) -> jockey.Statistics:
        return self.app.running.statistics()

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.server.stopping.wait()


@contextlib.asynccontextmanager
async def serving(routes: Routes, *, graceful: int | None = None, **options: Any) -> AsyncIterator[Site]:
    app = App(jockey.Executor(routes, **options))
    server = Server(app, graceful)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        serve = asyncio.create_task(server.serve(sockets=[listening]))
        async with connecting(port) as client:
            try:
                yield Site(app, server, client, port)
            except BaseException:
                server.force_exit = True
                raise
            finally:
                await client.aclose()
                server.should_exit = True
                await serve  # noqa: ASYNC102 - the server ends in any case


def connecting(port: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    # Nothing is encrypted here, and what encryption needs takes long to load.
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0, limits=limits, verify=False)  # noqa: S501


class Gate:
    """A handler that says when it has started and goes on when it may."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.open = anyio.Event()

    async def __call__(self, request: Request) -> Response:
        self.started.set()
        await self.open.wait()
        return Response({"passed": request.path})


@pytest.fixture
def endings() -> Endings:
    return Endings()


async def test_a_handler_of_the_method_goes_before_one_of_the_path() -> None:
    routes = Routes()

    @routes.add("/thing")
    def any_method(request: Request) -> Response:
        return Response(f"any: {request.method}")

    @routes.add("GET /thing")
    def get(request: Request) -> Response:
        return Response("get")

    async with serving(routes) as site:
        assert await site.get("/thing") == (200, "get")
        assert (await site.client.put("/thing")).json() == "any: PUT"


async def test_body_and_query_reach_the_handler() -> None:
    routes = Routes()

    @routes.add("POST /body")
    def body(request: Request) -> Response:
        return Response([request.query("a"), request.query("b", "none"), request.body.decode()], 201)

    async def parts() -> AsyncIterator[bytes]:  # noqa: ASYNC124 - as httpx wants it
        yield b"first, "
        yield b"second"

    async with serving(routes) as site:
        response = await site.client.post("/body?a=1", content=parts())

    assert (response.status_code, response.json()) == (201, ["1", "none", "first, second"])
    assert response.headers["content-type"] == "application/json"


async def test_unknown_path_is_404() -> None:
    async with serving(Routes()) as site:
        assert await site.get("/nowhere") == (404, {"error": "not found"})
        assert site.statistics().no_handler == 1


async def test_timeout_is_504() -> None:
    routes = Routes()
    routes.add("GET /slow", job_timeout=0.01)(Gate())

    async with serving(routes) as site:
        assert await site.get("/slow") == (504, {"error": "took too long"})


async def test_timeout_of_the_handler_itself_is_500() -> None:
    routes = Routes()

    @routes.add("GET /timeout")
    def fail(request: Request) -> Response:
        raise TimeoutError("the database is slow")

    async with serving(routes) as site:
        assert await site.get("/timeout") == (500, {"error": "internal error"})


async def test_failure_is_500_and_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    routes = Routes()

    @routes.add("GET /fail")
    def fail(request: Request) -> Response:
        raise LookupError("not here")

    @routes.add("GET /object")
    def no_json(request: Request) -> Response:
        return Response(object())  # type: ignore[arg-type] # what happens then is the question

    @routes.add("GET /fine")
    def fine(request: Request) -> Response:
        return Response("fine")

    async with serving(routes) as site:
        assert await site.get("/fail") == (500, {"error": "internal error"})
        assert await site.get("/object") == (500, {"error": "internal error"})
        assert await site.get("/fine") == (200, "fine")

    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "GET /fail failed",
        "GET /object failed",
    ]


async def test_body_that_is_too_big_is_413_and_makes_no_job() -> None:
    async with serving(Routes()) as site:
        response = await site.client.post("/", content=b"x" * (MAX_BODY + 1))

        assert (response.status_code, response.json()) == (413, {"error": "body is too big"})
        assert site.statistics().no_handler == 0


async def test_full_backlog_is_503() -> None:
    gate = Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)

    async with serving(routes, max_jobs=1, max_backlog=1) as site, anyio.create_task_group() as tasks:
        tasks.start_soon(site.get, "/gate")
        await gate.started.wait()
        tasks.start_soon(site.get, "/gate")
        # Whoever comes later finds the one place for waiting taken.
        assert await _first_refusal(site) == (503, {"error": "too busy"})
        gate.open.set()


async def _first_refusal(site: Site) -> tuple[int, Any]:
    async with anyio.create_task_group() as tasks:
        refused: list[tuple[int, Any]] = []

        async def ask() -> None:
            refused.append(await site.get("/gate"))
            tasks.cancel_scope.cancel()

        tasks.start_soon(ask)
        tasks.start_soon(ask)
    return refused[0]


async def test_client_that_hangs_up_cancels_its_running_job(endings: Endings) -> None:
    gate = Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)

    async with serving(routes, middleware=[endings.record]) as site:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.get, "/gate")
            await gate.started.wait()
            tasks.cancel_scope.cancel()
        await endings.reach(1)

        assert endings.seen == ["GET /gate cancelled: client disconnected"]


async def test_client_that_hangs_up_cancels_its_queued_job(endings: Endings) -> None:
    gate, never = Gate(), Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)
    routes.add("GET /never")(never)
    asked = anyio.Event()

    class Asked(jockey.Middleware[Request, str, Response]):
        def get_keys(self) -> Any:
            if "GET /never" in repr(self):
                asked.set()
            return super().get_keys()

    async with (
        serving(routes, max_jobs=1, middleware=[Asked, endings.record]) as site,
        anyio.create_task_group() as others,
    ):
        others.start_soon(site.get, "/gate")
        await gate.started.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.get, "/never")
            await asked.wait()
            tasks.cancel_scope.cancel()
        await endings.reach(1)

        assert endings.seen == ["GET /never cancelled: client disconnected"]
        assert not never.started.is_set()
        gate.open.set()


async def test_client_that_hangs_up_within_its_body_makes_no_job() -> None:
    app = App(jockey.Executor(Routes()))
    events: list[Event] = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Event:  # noqa: ASYNC124 - as ASGI wants it
        return events.pop(0)

    async def send(event: Event) -> None:  # noqa: ASYNC124 - as ASGI wants it
        raise AssertionError("nobody is there to hear an answer")

    # The app would raise for lack of a running executor, had it tried to schedule.
    await app({"type": "http"}, receive, send)


async def test_high_priority_goes_first() -> None:
    gate = Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)
    order: list[str] = []
    arrived = 0
    all_arrived = anyio.Event()

    @routes.add("GET /low", priority=jockey.Priority.LOW)
    @routes.add("GET /normal")
    @routes.add("GET /high", priority=jockey.Priority.HIGH)
    def note(request: Request) -> Response:
        order.append(request.path)
        return Response(None)

    class Arrivals(jockey.Middleware[Request, str, Response]):
        def get_keys(self) -> Any:
            nonlocal arrived
            arrived += 1
            if arrived == 10:
                all_arrived.set()
            return super().get_keys()

    async with serving(routes, max_jobs=1, middleware=[Arrivals]) as site, anyio.create_task_group() as tasks:
        tasks.start_soon(site.get, "/gate")
        await gate.started.wait()
        for path in ("/low", "/normal", "/high"):
            for _ in range(3):
                tasks.start_soon(site.get, path)
        await all_arrived.wait()
        gate.open.set()

    assert order == ["/high"] * 3 + ["/normal"] * 3 + ["/low"] * 3


async def test_every_request_is_answered_under_load() -> None:
    routes = Routes()
    now = most = 0

    @routes.add("GET /square")
    async def square(request: Request) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.lowlevel.checkpoint()
        now -= 1
        return Response(int(request.query("number")) ** 2)

    @routes.add("GET /slow", job_timeout=0.01)
    async def slow(request: Request) -> Response:
        await anyio.sleep_forever()
        raise AssertionError

    async def visit(visitor: int) -> None:
        # A client of its own for each: one for all would spend its time looking for an idle connection.
        async with connecting(site.port) as client:
            for number in range(visitor, 2_000, 40):
                response = await client.get(path(number))
                assert (response.status_code, response.json()) == answer(number)

    def path(number: int) -> str:
        return {0: "/slow", 1: "/square?number=x", 2: "/nowhere"}.get(number % 50, f"/square?number={number}")

    def answer(number: int) -> tuple[int, Any]:
        return {
            0: (504, {"error": "took too long"}),
            1: (500, {"error": "internal error"}),
            2: (404, {"error": "not found"}),
        }.get(number % 50, (200, number**2))

    async with serving(routes, max_jobs=20) as site:
        async with anyio.create_task_group() as visitors:
            for visitor in range(40):
                visitors.start_soon(visit, visitor)
        statistics = site.statistics()

    assert (statistics.succeeded, statistics.failed, statistics.no_handler) == (1_880, 80, 40)
    assert (statistics.cancelled, statistics.callback_errors, statistics.running) == (0, 0, 0)
    assert 1 < most <= 20


async def test_requests_that_come_in_one_packet_are_answered_in_order() -> None:
    routes = Routes()

    @routes.add("/path")
    async def path(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        return Response(request.method)

    requests = [f"{method} /path HTTP/1.1\r\nHost: localhost\r\n\r\n" for method in ("GET", "PUT", "DELETE")]
    received = b""

    # The server starts the second request inside the callback of the first one, to whose job it must not belong.
    async with serving(routes, max_jobs=1) as site, await anyio.connect_tcp("127.0.0.1", site.port) as connection:
        await connection.send("".join(requests).encode())
        while b'"DELETE"' not in received:
            received += await connection.receive()

    assert re.findall(rb'"([A-Z]+)"', received) == [b"GET", b"PUT", b"DELETE"]


async def test_requests_in_flight_are_answered_before_the_server_ends(endings: Endings) -> None:
    gate = Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)
    answers: list[tuple[int, Any]] = []

    async with serving(routes, max_jobs=1, middleware=[endings.record]) as site, anyio.create_task_group() as tasks:

        async def ask() -> None:
            answers.append(await site.get("/gate"))

        tasks.start_soon(ask)
        await gate.started.wait()
        await site.stop()
        assert answers == []
        gate.open.set()

    assert answers == [(200, {"passed": "/gate"})]
    assert endings.seen == ["GET /gate succeeded"]


async def test_server_that_waits_no_longer_cancels_its_requests(endings: Endings) -> None:
    gate = Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)

    async with serving(routes, graceful=0, middleware=[endings.record]) as site, anyio.create_task_group() as tasks:

        async def ask() -> None:
            assert (await site.client.get("/gate")).status_code == 500

        tasks.start_soon(ask)
        await gate.started.wait()
        await site.stop()
        await endings.reach(1)

    assert endings.seen == ["GET /gate cancelled: client disconnected"]


async def test_job_that_the_executor_cancels_is_503() -> None:
    gate = Gate()
    routes = Routes()
    routes.add("GET /gate")(gate)

    async with serving(routes) as site, anyio.create_task_group() as tasks:

        async def ask() -> None:
            assert await site.get("/gate") == (503, {"error": "shutting down"})

        tasks.start_soon(ask)
        await gate.started.wait()
        await site.app.running.drain(timeout=0.0)


class Lifespan:
    """The server's side of the lifespan of an app."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.to_say = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive(self) -> Event:
        self.said.append(next(self.to_say))
        return {"type": self.said[-1]}

    async def send(self, event: Event) -> None:
        self.said.append(event["type"])
        assert event.get("message", "LookupError('no')") == "LookupError('no')"


class Breaking(jockey.Executor[Request, str, Response]):
    """An executor that breaks where it is told to."""

    place = ""

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[jockey.RunningExecutor[Request, str, Response]]:
        if self.place == "startup":
            raise LookupError("no")
        async with super().run() as running:
            yield running
        if self.place == "shutdown":
            raise LookupError("no")


async def test_executor_lives_as_long_as_the_lifespan() -> None:
    lifespan = Lifespan()

    await App(Breaking(Routes()))({"type": "lifespan"}, lifespan.receive, lifespan.send)

    assert lifespan.said == [
        "lifespan.startup",
        "lifespan.startup.complete",
        "lifespan.shutdown",
        "lifespan.shutdown.complete",
    ]


@pytest.mark.parametrize("place", ["startup", "shutdown"])
async def test_server_is_told_that_the_executor_has_failed_at(place: str) -> None:
    lifespan = Lifespan()
    executor = Breaking(Routes())
    executor.place = place

    with pytest.raises(LookupError, match="no"):
        await App(executor)({"type": "lifespan"}, lifespan.receive, lifespan.send)

    assert lifespan.said[-2:] == [f"lifespan.{place}", f"lifespan.{place}.failed"]


async def test_what_is_not_http_is_refused() -> None:
    lifespan = Lifespan()

    with pytest.raises(NotImplementedError, match="only HTTP is served, got 'websocket'"):
        await App(Breaking(Routes()))({"type": "websocket"}, lifespan.receive, lifespan.send)


# The whole program ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def program() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the site and yield its address."""
    with start("examples/web_framework.py", environment={"PORT": "0"}) as running:
        try:
            assert running.stderr
            for line in running.stderr:
                if found := re.search(r"running on (\S+)", line):
                    yield running, found[1]
                    break
            else:
                raise AssertionError(f"the server has ended with {running.wait()}")
        finally:
            running.kill()


async def test_site_answers_and_stops_when_told_to() -> None:
    with program() as (running, address):
        async with httpx.AsyncClient(base_url=address, timeout=60.0) as client:
            answers = {
                path: (response.status_code, response.json())
                for path in ("/", "/health", "/prime?number=7", "/prime?number=x", "/report", "/broken", "/nowhere")
                for response in [await client.get(path)]
            }
            echo = (await client.post("/echo", content=b"hello")).json()
        running.send_signal(signal.SIGTERM)
        _, complaints = rest_of(running)

    assert answers == {
        "/": (200, {"hello": "world"}),
        "/health": (200, {"healthy": True}),
        "/prime?number=7": (200, {"prime": True}),
        "/prime?number=x": (400, {"error": "number must be digits"}),
        "/report": (504, {"error": "took too long"}),
        "/broken": (500, {"error": "internal error"}),
        "/nowhere": (404, {"error": "not found"}),
    }
    assert echo == {"method": "POST", "body": "hello"}
    assert "Application shutdown complete." in complaints
