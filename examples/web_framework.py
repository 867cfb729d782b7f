"""
Serve HTTP: a small web framework, and a site made with it.

Shows how each request becomes a job. Routes are handlers with all that handlers can have: priorities, timeouts, caps, a
thread or a process to run in. What becomes of a job decides the answer: 404 when there is no handler, 504 when it took
too long, 500 when it failed, 503 when too many wait. When the client hangs up, the job is cancelled.

    pip install jockey uvicorn
    python examples/web_framework.py
    curl 'http://127.0.0.1:8000/prime?number=1000003'
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import uvicorn

import jockey

# The framework --------------------------------------------------------------------------------------------------------

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | float | bool | None"
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

MAX_BODY = 1_000_000
"""Bytes that a request may have."""

log = logging.getLogger("uvicorn.error")


@dataclass(slots=True)
class Request:
    """What a handler is called with."""

    method: str
    path: str
    query_string: bytes
    headers: Iterable[tuple[bytes, bytes]]
    body: bytes

    def query(self, name: str, default: str = "") -> str:
        """Return the first value of a parameter of the query."""
        return parse_qs(self.query_string.decode()).get(name, [default])[0]


class Response:
    """What a handler returns. Encoded where it is made, so that what is no JSON is a failure of the handler."""

    __slots__ = ("body", "status")

    def __init__(self, content: Json, status: int = 200) -> None:
        self.body = json.dumps(content).encode()
        self.status = status


class Routes(jockey.Registry[Request, str, Response]):
    """Handlers by method and path, `GET /health`, or by path alone, `/echo`, for the methods that have none."""


class Exchange(jockey.Adapter[Request, str, Response]):
    """A request that waits for its response."""

    def __init__(self, request: Request, send: Send) -> None:
        self.request = request
        self.send = send
        self.connected = True

    def get_keys(self) -> Iterable[str]:
        return (f"{self.request.method} {self.request.path}", self.request.path)

    async def get_payload(self) -> Request:
        return self.request

    async def on_success(self, result: Response) -> None:
        await self.respond(result)

    async def on_failure(self, exc: Exception) -> None:
        if isinstance(exc, jockey.JobTimeoutError):
            await self.respond(Response({"error": "took too long"}, 504))
        else:
            log.error("%s failed", self, exc_info=exc)
            await self.respond(Response({"error": "internal error"}, 500))

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        log.info("%s cancelled: %s", self, exc)
        if self.connected:
            await self.respond(Response({"error": "shutting down"}, 503))

    async def on_no_handler(self) -> None:
        await self.respond(Response({"error": "not found"}, 404))

    async def respond(self, response: Response) -> None:
        """Send the whole response."""
        length = str(len(response.body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": response.body})

    def __repr__(self) -> str:
        return f"{self.request.method} {self.request.path}"


class App:
    """The ASGI application: runs an executor for as long as the server lives, and a job for each request."""

    def __init__(self, executor: jockey.Executor[Request, str, Response]) -> None:
        self.executor = executor
        self.running: jockey.RunningExecutor[Request, str, Response]

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise NotImplementedError(f"only HTTP is served, got {scope['type']!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        # The server gives the lifespan a task of its own from start to end, so the executor is entered and left in one
        # and the same task. A server that is not told about a failure would go on without the executor.
        phase = "startup"
        try:
            await receive()
            async with self.executor.run() as self.running:
                await send({"type": "lifespan.startup.complete"})
                await receive()
                phase = "shutdown"
            await send({"type": "lifespan.shutdown.complete"})
        except Exception as exc:
            await send({"type": f"lifespan.{phase}.failed", "message": repr(exc)})  # noqa: ASYNC120 - raised in any case
            raise

    async def _serve(self, scope: Event, receive: Receive, send: Send) -> None:
        # The body is read before the job exists: a client that dawdles keeps no slot.
        body = await _read_body(receive)
        if body is None:
            return
        request = Request(scope["method"], scope["path"], scope["query_string"], scope["headers"], body)
        exchange = Exchange(request, send)
        if len(body) > MAX_BODY:
            await exchange.respond(Response({"error": "body is too big"}, 413))
            return
        try:
            handle = self.running.schedule(exchange)
        except jockey.BacklogFullError:
            await exchange.respond(Response({"error": "too busy"}, 503))
            return
        try:
            await _wait_for_disconnect(receive)
        finally:
            # Means nothing to a job that has ended.
            exchange.connected = False
            handle.cancel("client disconnected")
        await handle.wait()


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or a little more of it than is allowed, or None when the client has gone."""
    body = b""
    more = True
    while more and len(body) <= MAX_BODY:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def _wait_for_disconnect(receive: Receive) -> None:
    """
    Return when the client has gone, or has its response: ASGI tells both with the same event.

    That is why one task is enough to watch a request.
    """
    while (await receive())["type"] != "http.disconnect":
        pass


# A site ---------------------------------------------------------------------------------------------------------------

routes = Routes()


@routes.add("GET /")
def hello(_request: Request) -> Response:
    return Response({"hello": "world"})


@routes.add("GET /health", priority=jockey.Priority.HIGH)
def health(_request: Request) -> Response:
    """Answer before all others, also when thousands wait."""
    return Response({"healthy": True})


@routes.add("/echo")
def echo(request: Request) -> Response:
    return Response({"method": request.method, "body": request.body.decode()})


@routes.add("GET /prime", execute_in=jockey.ExecuteIn.PROCESS, job_timeout=60.0)
def prime(request: Request) -> Response:
    """Compute in a process, so that the server goes on serving; the timeout stops it."""
    digits = request.query("number")
    if not digits.isdecimal():
        return Response({"error": "number must be digits"}, 400)
    number = int(digits)
    return Response({"prime": number > 1 and all(number % divisor for divisor in range(2, number))})


@routes.add("GET /report", priority=jockey.Priority.LOW, max_jobs=4, job_timeout=0.5)
async def report(_request: Request) -> Response:
    """Take longer than is allowed."""
    await asyncio.sleep(60)
    return Response({"report": "never ready"})


@routes.add("GET /broken")
def broken(_request: Request) -> Response:
    raise RuntimeError("this route is broken")


app = App(jockey.Executor(routes, max_jobs=100, max_backlog=10_000, drain_timeout=10.0))

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), lifespan="on", timeout_graceful_shutdown=30)
