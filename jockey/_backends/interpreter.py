"""
Running handlers in interpreters of their own, each in a thread that serves it for the time of a job.

Not by `anyio.to_interpreter`: that waits for a call that has been cancelled, in threads that keep the program from
ending, so a handler that hangs could not be reported; and on Python 3.13 it cannot find the functions of a script.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import anyio
import anyio.to_thread

from jockey import _runtime
from jockey._backends import _frames
from jockey._backends._batch import Failed
from jockey._backends._interpreted import LENGTH
from jockey._backends._outside import interpreters_begin
from jockey._backends._transfer import RemoteTraceback, name_of, raised
from jockey._errors import InitializerError, TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jockey._backends._interpreted import Answer
    from jockey._backends.thread import ThreadBackend

    Function = Callable[[Any], object]

_REPLY = 64 * 1024
"""Bytes of an answer that can be fetched in one go."""

# As in a worker process: the program is imported as part of an empty `jockey`; a handler that imports jockey gets the
# real one. Without `_interpreters`, that interpreter could not be given a view of our memory. The names that stay are
# such that they do not clash with those of a script, which is imported into the same module.
_BOOTSTRAP: Final = """
import _interpreters, sys
sys.path[:], sys.argv = {path!r}, {argv!r}
for name, path in ("jockey", []), ("jockey._backends", [{folder!r}]):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = path
from jockey._backends._interpreted import Program as __jockey_program__
del sys.modules["jockey"], sys.modules["jockey._backends"], name, path
__jockey_program__ = __jockey_program__({script!r})
"""


class InterpreterBackend:
    """
    A pool of interpreters, as many as there have ever been jobs in them at once.

    Args:
        threads: Where they run.
        initializer: Is called with *initargs* in each of them before its first job.
        initargs: See *initializer*.
    """

    def __init__(
        self,
        threads: ThreadBackend,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._runtime = _runtime.current()
        self._threads = threads
        self._initialize = None if initializer is None else pickle.dumps((initializer, initargs))
        self._bootstrap = _bootstrap()
        self._idle: list[_Interpreter] = []
        self._is_closed = False
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self, function: Function, payload: object) -> object:
        """
        Return what ``function(payload)`` returns in an interpreter.

        Raises:
            TransferError: The function, the payload, the result or the exception cannot be sent.
            InitializerError: The initializer has raised.
            HandlerCrashedError: The function raised what is no `Exception`, such as `SystemExit`.
            Exception: The function raised it.
        """
        (outcome,) = await self.run_batch(function, [payload])
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    async def run_batch(self, function: Function, payloads: list[Any]) -> list[Any]:
        """Call *function* with each of *payloads*; return results, and `Failed` for those that have failed."""
        call = functools.partial(self._outcomes, function)
        outcomes: list[Any] = await self._threads.call(call, payloads, where="an interpreter")
        return outcomes

    async def aclose(self) -> None:
        """Let all interpreters go that have nothing to do; those that still run a handler go after it."""
        self._is_closed = True
        if not self._idle:
            return
        self._runtime.note_outside(1)
        try:
            await anyio.to_thread.run_sync(self._dismiss_idle, limiter=self._limiter)
        finally:
            self._runtime.note_outside(-1)

    # In threads

    def _outcomes(self, function: Function, payloads: list[Any]) -> list[Any]:
        name = name_of(function)
        pickled = [_pickled(name, payload) for payload in payloads]
        request = (pickle.dumps(function), [payload for payload in pickled if not isinstance(payload, Failed)])
        answers = iter(self._ask(pickle.dumps(request)))
        return [payload if isinstance(payload, Failed) else _outcome_of(name, *next(answers)) for payload in pickled]

    def _ask(self, request: bytes) -> list[Answer]:
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._new()
        try:
            answers: list[Answer] = interpreter.ask("answer", request)
        finally:
            self._idle.append(interpreter)
            if self._is_closed:
                self._dismiss_idle()
        return answers

    def _new(self) -> _Interpreter:
        interpreter = _Interpreter(self._bootstrap)
        if self._initialize is not None:
            end = _outcome_of("the initializer", *interpreter.ask("initialize", self._initialize))
            if isinstance(end, Failed):
                interpreter.close()
                raise InitializerError(f"the initializer raised {end.error!r} in an interpreter") from end.error
        return interpreter

    def _dismiss_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class _Core(Protocol):
    """What we need of `concurrent.interpreters.Interpreter`, which comes with Python 3.14."""

    def prepare_main(self, **names: object) -> None:
        """Set names in its main module."""
        ...

    def exec(self, code: str, /) -> None:
        """Run code in its main module."""
        ...

    def close(self) -> None:
        """Destroy it; waits for threads in it."""
        ...


class _Interpreter:
    def __init__(self, bootstrap: str) -> None:
        with interpreters_begin:
            self._core = _new_core()
        try:
            self._core.exec(bootstrap)
        except BaseException:
            self._core.close()
            raise
        self._reply = bytearray(_REPLY)
        self._core.prepare_main(__jockey_reply__=memoryview(self._reply))

    def ask(self, method: str, request: bytes) -> Any:
        core, reply = self._core, self._reply
        core.prepare_main(__jockey_request__=request)
        core.exec(f"__jockey_program__.{method}(globals().pop('__jockey_request__'), __jockey_reply__)")
        (length,) = LENGTH.unpack_from(reply)
        answer = bytes(reply[LENGTH.size : LENGTH.size + length])
        if len(answer) < length:
            rest = bytearray(length - len(answer))
            core.prepare_main(__jockey_rest__=memoryview(rest))
            core.exec("__jockey_program__.copy_rest(globals().pop('__jockey_rest__'))")
            answer += rest
        return pickle.loads(answer)  # noqa: S301 - from our own process

    def close(self) -> None:
        self._core.exec("del __jockey_reply__")
        self._core.close()


class _EarlyCore:
    """The same for Python 3.13, which has it in an undocumented module only."""

    def __init__(self) -> None:
        self._interpreters: Any = importlib.import_module("_interpreters")
        self._id = self._interpreters.create()

    def prepare_main(self, **names: object) -> None:
        self._interpreters.set___main___attrs(self._id, names)

    def exec(self, code: str, /) -> None:
        failure = self._interpreters.exec(self._id, code)
        if failure is not None:
            raise RuntimeError(failure.formatted)

    def close(self) -> None:
        self._interpreters.destroy(self._id)


def _new_core() -> _Core:
    try:
        interpreters: Any = importlib.import_module("concurrent.interpreters")
    except ImportError:
        return _EarlyCore()
    return cast("_Core", interpreters.create())


def _bootstrap() -> str:
    import multiprocessing.spawn  # noqa: PLC0415 - takes ten milliseconds

    data = multiprocessing.spawn.get_preparation_data("jockey-interpreter")
    name, path = data.get("init_main_from_name"), data.get("init_main_from_path")
    return _BOOTSTRAP.format(
        path=data["sys_path"],
        argv=data["sys_argv"],
        folder=str(Path(__file__).parent),
        script=(name, path) if name or path else None,
    )


def _pickled(name: str, payload: object) -> bytes | Failed:
    try:
        return pickle.dumps(payload, pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        error = TransferError(
            f"a payload of type {type(payload).__module__}.{type(payload).__qualname__} cannot be pickled for the"
            f" interpreter of {name!r}: {exc!r}; give the handler plain data, or run it in a thread"
        )
        error.__cause__ = exc
        return Failed(error)


def _outcome_of(name: str, kind: int, body: bytes) -> Any:
    match kind:
        case _frames.RESULT:
            return _result(name, body) if body else None
        case _frames.RAISED:
            return Failed(raised(name, *pickle.loads(body), where="interpreter"))  # noqa: S301 - from our own process
        case _:
            return Failed(_refused(name, *pickle.loads(body)))  # noqa: S301 - from our own process


def _result(name: str, body: bytes) -> Any:
    try:
        return pickle.loads(body)  # noqa: S301 - from our own process
    except Exception as exc:
        error = TransferError(f"the result of {name!r} cannot be unpickled: {exc!r}")
        error.__cause__ = exc
        return Failed(error)


def _refused(name: str, what: str, report: _frames.Report) -> Exception:
    type_name, representation, traceback = report
    done = "pickled" if what in {"result", "exception"} else "unpickled"
    error = TransferError(f"the {what} of {name!r} cannot be {done} in its interpreter: {representation} ({type_name})")
    error.__cause__ = RemoteTraceback(traceback)
    return error
