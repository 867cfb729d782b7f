"""A load generator: connections that are kept open, each with one request after the other, over loopback."""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from typing_extensions import override

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DEADLINE = 60.0
"""Seconds that all requests of a round may take together."""

for module in ("uvicorn", "starlette"):
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"{module} is needed", name=module)


def load(site: str, requests: int, connections: int) -> dict[str, float]:
    """Measure the seconds that all requests take; connecting is not counted."""
    return asyncio.run(_load(_start_server(site), requests, connections))


@functools.cache
def _start_server(site: str) -> int:
    command = [sys.executable, "-P", str(Path(__file__).with_name("web_server.py")), site]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    assert server.stdout
    return int(server.stdout.readline())


async def _load(port: int, requests: int, connections: int) -> dict[str, float]:
    left = _Countdown(requests)
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Client(left), "127.0.0.1", port)
        clients.append(client)
    started = time.perf_counter()
    for client in clients:
        client.ask()
    async with asyncio.timeout(DEADLINE):
        await left.answered
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return {"seconds": seconds}


class _Countdown:
    """How many requests are still to be sent, and to be answered."""

    def __init__(self, requests: int) -> None:
        self.to_send = requests
        self.to_answer = requests
        self.answered = asyncio.get_running_loop().create_future()

    def answer(self) -> None:
        self.to_answer -= 1
        if not self.to_answer:
            self.answered.set_result(None)

    def fail(self, problem: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(RuntimeError(problem))


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, left: _Countdown) -> None:
        self._left = left
        self._received = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._left.to_answer:
            self._left.fail(f"the server has closed a connection: {exc!r}")

    def ask(self) -> None:
        if self._left.to_send:
            self._left.to_send -= 1
            self._transport.write(REQUEST)

    def close(self) -> None:
        self._transport.close()

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end_of_head, body = self._received.partition(b"\r\n\r\n")
        if end_of_head and len(body) == _content_length(head):
            self._received = b""
            self._left.answer()
            self.ask()


def _content_length(head: bytes) -> int:
    status, *headers = head.lower().split(b"\r\n")
    if status != b"http/1.1 200 ok":
        raise RuntimeError(f"the server answered {status!r}")
    return next(
        int(value) for name, _, value in (header.partition(b":") for header in headers) if name == b"content-length"
    )
