"""External programs as tasks: arguments on the standard input, the result on the standard output, both JSON."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import msgspec

from jockey._errors import RegistrationError
from jockey.jobs._errors import CommandFailedError
from jockey.jobs._plain import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    _Streams = tuple[ByteSendStream, ByteReceiveStream, ByteReceiveStream]

MAX_OUTPUT: Final = 64 * 1024 * 1024
"""Bytes of the result that are read; a program that writes more has failed."""

_TAIL: Final = 8192
"""Bytes of the standard error that are kept, the last ones."""


def command(
    program: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> Callable[..., Awaitable[Any]]:
    """
    Return an async function that runs *program* and returns its result.

    The program gets its arguments, which are all named ones, as one JSON object on its standard input, and writes its
    result as JSON to its standard output (nothing at all is None). It has failed if its exit code is not 0. It runs in
    a process group of its own; when it has ended, or the job times out or is cancelled, all that is left of the group
    is killed.

    Arguments are never put on the command line, which every user of the machine can read.

    Args:
        program: The name or path of the program, and what follows it on the command line.
        env: Environment variables besides those of the worker: the place for secrets.
        cwd: The directory in which it runs; None is that of the worker.

    Raises:
        RegistrationError: *program* or *env* makes no sense.
    """
    words = _checked_program(program)
    variables = _checked_variables(env)

    async def run(**arguments: Any) -> Any:  # whatever JSON can hold
        return await _run(words, msgspec.json.encode(arguments), variables, cwd)

    run.__qualname__ = run.__name__ = os.path.basename(words[0])  # noqa: PTH119 - a name, not a file
    return run


async def _run(
    words: Sequence[str], arguments: bytes, variables: Mapping[str, str], cwd: str | os.PathLike[str] | None
) -> Any:
    try:
        process = await anyio.open_process(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailedError(f"{words[0]!r} could not be started: {error}") from error
    stdin, stdout, stderr = cast("_Streams", (process.stdin, process.stdout, process.stderr))  # as asked for above
    output, errors = bytearray(), bytearray()
    async with process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write, stdin, arguments)
            tasks.start_soon(_read, process, stdout, output)
            tasks.start_soon(_read_end, stderr, errors)
            try:
                await process.wait()
            finally:
                _kill(process)  # and what it has left behind, which might keep its output open
        return _result(words[0], await process.wait(), bytes(output), errors.decode(errors="replace"))


async def _write(stream: ByteSendStream, arguments: bytes) -> None:
    # A program need not read its arguments.
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.send(arguments)
        await stream.aclose()


async def _read(process: Process, stream: ByteReceiveStream, output: bytearray) -> None:
    async for chunk in stream:
        output += chunk
        if len(output) > MAX_OUTPUT:
            _kill(process)
            return


async def _read_end(stream: ByteReceiveStream, errors: bytearray) -> None:
    async for chunk in stream:
        errors += chunk
        del errors[:-_TAIL]


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _result(name: str, exit_code: int, output: bytes, errors: str) -> Any:
    if len(output) > MAX_OUTPUT:
        raise CommandFailedError(
            f"{name!r} has written more than {MAX_OUTPUT} bytes to its standard output; "
            "let it write a large result to a file, and only its name there",
            exit_code,
            errors,
        )
    if exit_code:
        said = f"; it said: {errors.strip()}" if errors.strip() else ""
        raise CommandFailedError(f"{name!r} ended with the exit code {exit_code}{said}", exit_code, errors)
    try:
        return msgspec.json.decode(output) if output.strip() else None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CommandFailedError(
            f"what {name!r} has written to its standard output is no JSON: {error}; it is {shown(output)}; "
            "all else belongs on its standard error",
            exit_code,
            errors,
        ) from error


def _checked_program(program: Sequence[str]) -> list[str]:
    words = [] if isinstance(program, str) else list(program)
    if not words or not all(isinstance(word, str) for word in words) or not words[0]:
        raise RegistrationError(
            f'a command must be a list of the program and its arguments, got {program!r}; write ["program", "--option"]'
        )
    return words


def _checked_variables(env: Mapping[str, str] | None) -> dict[str, str]:
    if env is None:
        return {}
    if not isinstance(env, Mapping) or not all(isinstance(text, str) for pair in env.items() for text in pair):
        raise RegistrationError("env must be a dict of strings to strings; it has other keys or values")
    return dict(env)
