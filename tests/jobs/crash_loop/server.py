"""A RabbitMQ server of our own, which may be killed: it lives in a directory, and listens to ports that are free."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Server:
    """
    One node, and its own epmd, which tells nodes where others are.

    Attributes:
        url: Where it is reached.
    """

    def __init__(self, directory: Path) -> None:
        self._port, distribution, self._names = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/"
        directory.mkdir()
        plugins, config = directory / "plugins", directory / "rabbitmq.conf"
        plugins.write_text("[].\n")
        config.write_text(f"listeners.tcp.default = 127.0.0.1:{self._port}\n")
        self._output = (directory / "output").open("ab")
        self._environment = os.environ | {
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"crash-{os.getpid()}@localhost",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
        }
        self._epmd = subprocess.Popen(["epmd", "-port", str(self._names)], stdout=self._output, stderr=self._output)
        self._node = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: the script and the node are killed together.
        return subprocess.Popen(
            [SCRIPT], env=self._environment, stdout=self._output, stderr=self._output, start_new_session=True
        )

    def is_there(self) -> bool:
        """Tell whether it speaks AMQP: it answers to the first bytes of a client."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(client.recv(8))
        return False

    def wait(self) -> None:
        """Wait until it is there."""
        until = time.monotonic() + 120
        while not self.is_there():
            assert time.monotonic() < until, "the server does not come up"
            time.sleep(0.02)

    def kill(self) -> None:
        os.killpg(self._node.pid, signal.SIGKILL)
        self._node.wait()

    def start_again(self) -> None:
        self._node = self._start()

    def close(self) -> None:
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        self._output.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def server(directory: Path) -> Iterator[Server]:
    """Have a server in the block."""
    running = Server(directory)
    try:
        running.wait()
        yield running
    finally:
        running.close()
