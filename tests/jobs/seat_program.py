"""A program that a supervisor keeps running: it tells its process id by a named pipe, and ends in its own way."""

import os
import signal
import sys

path, kind = sys.argv[1:]
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for sigwait

pipe = os.open(path, os.O_WRONLY)


def tell(what: str) -> None:
    os.write(pipe, f"{what} {os.getpid()}\n".encode())


tell("up")
if kind == "failing":
    sys.exit(3)
if kind == "done":
    sys.exit(0)
while kind == "stubborn":
    signal.pause()
signal.sigwait({signal.SIGTERM})
tell("asked")
if kind == "slow":
    signal.sigwait({signal.SIGTERM})
    tell("asked again")
