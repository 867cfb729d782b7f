"""A server of its own: `web_server.py SITE` prints its port, and serves until its standard input ends."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from typing import Any

# Imported by name, because it may be absent where types are checked.
uvicorn: Any = importlib.import_module("uvicorn")


async def serve(site: str) -> None:
    server = uvicorn.Server(uvicorn.Config(site, access_log=False, log_level="warning", lifespan="on", loop="none"))
    # asyncio turns Nagle's algorithm off only where the protocol is spelled out; with it each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        # Now, not when the server is ready: clients that come early wait.
        listening.listen()
        print(listening.getsockname()[1], flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        await asyncio.wait([serving, ended], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
