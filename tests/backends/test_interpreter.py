"""Handlers in interpreters of their own."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from jockey import (
    ExecuteIn,
    Executor,
    Failure,
    HandlerCrashedError,
    InitializerError,
    JobState,
    JobTimeoutError,
    Priority,
    RegistrationError,
    Registry,
    StuckThreadError,
    TransferError,
    _handler,
    _runtime,
)
from jockey._backends import Pools
from jockey._backends._batch import Failed
from jockey._backends._interpreted import LENGTH, Program
from jockey._backends.interpreter import InterpreterBackend, _Interpreter
from jockey._backends.thread import ThreadBackend
from jockey._handler import Handler, Options
from jockey.testing import Backend, run
from tests.backends import future_handlers, interpreter_handlers
from tests.core.story import registry_of

pytestmark = pytest.mark.anyio

HAS_INTERPRETERS = sys.version_info >= (3, 13)
needs_interpreters = pytest.mark.skipif(not HAS_INTERPRETERS, reason="Python 3.13 is the first to have interpreters")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def interpreters() -> int:
    import _interpreters  # type: ignore[import-not-found,unused-ignore]

    return len(_interpreters.list_all())


@pytest.fixture(autouse=True)
def _no_interpreter_is_left_behind() -> Iterator[None]:
    before = interpreters() if HAS_INTERPRETERS else 0
    yield
    assert (interpreters() if HAS_INTERPRETERS else 0) == before


class Gate:
    """Where `hold` waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def started(self) -> int:
        return len(list(self.folder.glob("started *")))

    def open(self) -> None:
        (self.folder / "may end").touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens elsewhere."""
    while not condition():
        await anyio.sleep(0.002)


def in_interpreter(*functions: Callable[[Any], Any], **options: Any) -> Registry[Any, Any, Any]:
    registry: Registry[Any, Any, Any] = Registry()
    for function in functions:
        registry.add(function.__name__, execute_in=ExecuteIn.INTERPRETER, **options)(function)
    return registry


async def result_of(function: Callable[[Any], Any], payload: object = None) -> Any:
    async with Executor(in_interpreter(function)).run() as running:
        return await running.submit(function.__name__, payload).result()


async def error_of(function: Callable[[Any], Any], payload: object = None) -> Exception:
    async with Executor(in_interpreter(function)).run() as running:
        outcome = await running.submit(function.__name__, payload).wait()
    assert isinstance(outcome, Failure)
    return outcome.error


# Registration


def test_a_python_without_interpreters_is_named_at_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_handler, "_has_interpreters", lambda: False)  # as all before 3.13

    with pytest.raises(RegistrationError) as caught:
        in_interpreter(future_handlers.double)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert str(caught.value) == f"ExecuteIn.INTERPRETER needs Python 3.13 or newer, this is {version}; use PROCESS"


async def add_async(number: int) -> int:
    return number


@needs_interpreters
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (add_async, "'add_async' is async and cannot run in an interpreter; use THREAD or MAIN, or make it sync"),
        (
            lambda _: None,
            "'<lambda>' cannot be sent to an interpreter: it is a lambda; move it to the top level of a m",
        ),
    ],
    ids=["async", "lambda"],
)
def test_a_function_that_cannot_run_there_is_refused(function: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(RegistrationError, match=re.escape(message)):
        in_interpreter(function)


@needs_interpreters
async def test_a_function_that_cannot_be_found_by_its_name_is_refused_when_the_executor_starts() -> None:
    renamed = types.FunctionType(future_handlers.double.__code__, globals(), "renamed")
    renamed.__qualname__ = "renamed"

    with pytest.raises(RegistrationError, match="cannot be sent to an interpreter: "):
        async with Executor(in_interpreter(renamed)).run():
            pytest.fail("it must not start")


# In real interpreters


@needs_interpreters
class TestInterpreter:
    async def test_a_handler_runs_in_an_interpreter_that_is_not_the_main_one(self) -> None:
        assert await result_of(future_handlers.double, 4) == 8
        assert await result_of(future_handlers.pid) == await anyio.to_thread.run_sync(future_handlers.pid, None)
        assert await result_of(interpreter_handlers.where) != interpreter_handlers.where(None)

    async def test_an_interpreter_serves_one_job_after_another_and_has_memory_of_its_own(self) -> None:
        async with Executor(in_interpreter(interpreter_handlers.count_calls)).run() as running:
            counts = [await running.submit("count_calls", None).result() for _ in range(3)]

        assert counts == [1, 2, 3]
        assert interpreter_handlers.calls == []

    async def test_jobs_run_in_several_interpreters_at_once(self, gate: Gate) -> None:
        async with Executor(in_interpreter(future_handlers.hold)).run() as running:
            for _ in range(2):
                running.submit("hold", str(gate.folder))
            await until(lambda: gate.started == 2)
            gate.open()

    @pytest.mark.parametrize("size", [0, 30_000, 500_000])
    async def test_payloads_and_results_may_have_any_size(self, size: int) -> None:
        assert await result_of(interpreter_handlers.repeat, size * "x") == 3 * size * "x"

    async def test_an_exception_arrives_as_what_it_is_and_tells_where_it_was_raised(self) -> None:
        error = await error_of(future_handlers.fail, 5)

        assert (type(error), str(error)) == (ZeroDivisionError, "cannot do 5")
        assert "future_handlers.py" in str(error.__cause__)

    async def test_what_is_no_exception_fails_that_job_only(self) -> None:
        async with Executor(in_interpreter(future_handlers.leave, future_handlers.double)).run() as running:
            outcome = await running.submit("leave", None).wait()
            assert await running.submit("double", 1).result() == 2

        assert isinstance(outcome, Failure)
        assert isinstance(outcome.error, HandlerCrashedError)
        assert isinstance(outcome.error.__cause__, SystemExit)

    @pytest.mark.parametrize(
        ("function", "payload", "message"),
        [
            (
                "take",
                lambda: None,
                "a payload of type builtins.function cannot be pickled for the interpreter of 'take'",
            ),
            ("take", interpreter_handlers.Reluctant(), "the payload of 'take' cannot be unpickled in its interpreter"),
            ("return_lock", None, "the result of 'return_lock' cannot be pickled in its interpreter"),
            ("return_reluctant", None, "the result of 'return_reluctant' cannot be unpickled: ValueError"),
            ("raise_unsendable", None, "the exception of 'raise_unsendable' cannot be pickled in its interpreter"),
            ("raise_untakeable", None, "which cannot be unpickled: TypeError"),
        ],
    )
    async def test_what_cannot_be_sent_fails_that_job_and_is_named(
        self, function: str, payload: object, message: str
    ) -> None:
        error = await error_of(getattr(interpreter_handlers, function), payload)

        assert isinstance(error, TransferError)
        assert message in str(error)

    async def test_a_module_that_does_not_work_in_interpreters_is_named(self) -> None:
        from tests.backends.interpreter_unfit import handle

        error = await error_of(handle)

        assert isinstance(error, TransferError)
        assert "the handler of 'handle' cannot be unpickled in its interpreter" in str(error)
        assert "does not support loading in subinterpreters" in str(error)

    async def test_a_batch_is_one_call_with_an_outcome_for_each_item(self) -> None:
        options = Options(ExecuteIn.INTERPRETER, None, None, None, Priority.NORMAL, ())
        handler = Handler[Any, Any].of(future_handlers.odd_only, options)
        pools = Pools(_runtime.current(), None, lambda _: None)

        outcomes = await pools.batch_caller(handler, ExecuteIn.INTERPRETER)([1, lambda: None, 2, 3])
        await pools.close()

        assert [repr(outcome.error)[:16] if isinstance(outcome, Failed) else outcome for outcome in outcomes] == [
            1,
            "TransferError('a",
            "ValueError(2)",
            3,
        ]

    async def test_an_interpreter_that_cannot_be_set_up_does_not_stay(self) -> None:
        with pytest.raises(Exception, match="ModuleNotFoundError: No module named 'nowhere'"):
            _Interpreter("import nowhere")

    async def test_the_initializer_runs_once_in_each_interpreter(self, gate: Gate) -> None:
        registry = in_interpreter(interpreter_handlers.used, future_handlers.hold)

        executor = Executor(registry, initializer=interpreter_handlers.use, initargs=("a place", 2))
        async with executor.run() as running:
            running.submit("hold", str(gate.folder))
            await until(lambda: gate.started)
            used = [await running.submit("used", None).result() for _ in range(2)]
            gate.open()

        assert used == [[("a place", 2)]] * 2

    async def test_an_initializer_that_raises_fails_the_job_that_waits_for_it(self) -> None:
        executor = Executor(in_interpreter(future_handlers.double), initializer=interpreter_handlers.refuse)
        async with executor.run() as running:
            outcome = await running.submit("double", 1).wait()

        assert isinstance(outcome, Failure)
        assert isinstance(outcome.error, InitializerError)
        assert "no such place" in str(outcome.error)
        assert isinstance(outcome.error.__cause__, ValueError)

    # What cannot be stopped

    async def test_a_job_that_is_timed_out_is_reported_at_once_and_keeps_its_slot(self, gate: Gate) -> None:
        told: list[BaseException] = []
        registry = Registry[Any, Any, Any]()
        registry.add("hold", execute_in=ExecuteIn.INTERPRETER, job_timeout=0.02)(future_handlers.hold)
        registry.add("double", execute_in=ExecuteIn.INTERPRETER)(future_handlers.double)

        async with Executor(registry, max_jobs=1, on_error=lambda error, _: told.append(error)).run() as running:
            # A thread has a stack to tell as long as there is no interpreter yet.
            await running.submit("double", 1).result()
            outcome = await running.submit("hold", str(gate.folder)).wait()
            await until(lambda: gate.started)
            following = running.submit("double", 1)
            await wait_all_tasks_blocked()
            assert following.state is JobState.QUEUED
            assert running.statistics().stuck_threads == ("hold",)
            gate.open()
            assert await following.result() == 2

        assert isinstance(outcome, Failure)
        assert isinstance(outcome.error, JobTimeoutError)
        (error,) = told
        assert isinstance(error, StuckThreadError)
        assert str(error) == "'hold' was stopped, but an interpreter cannot be; it keeps its slot until it ends"
        assert error.stack == ""

    async def test_run_gives_up_on_an_interpreter_which_is_gone_when_its_job_has_ended(self, gate: Gate) -> None:
        told: list[str] = []
        registry = in_interpreter(future_handlers.hold, job_timeout=0.01)
        before = interpreters()

        async with Executor(registry, grace=0.01, on_error=lambda error, _: told.append(str(error))).run() as running:
            running.submit("hold", str(gate.folder))
            await until(lambda: gate.started)
        assert interpreters() > before
        gate.open()
        await until(lambda: interpreters() == before)

        assert told[-1] == ("gave up on an interpreter that still runs 'hold'; it ends with the program at the latest")

    async def test_interpreters_count_as_threads(self, gate: Gate) -> None:
        registry = in_interpreter(future_handlers.hold)
        registry.add("thread", execute_in=ExecuteIn.THREAD)(future_handlers.double)

        async with Executor(registry, max_threads=1).run() as running:
            running.submit("hold", str(gate.folder))
            await until(lambda: gate.started)
            job = running.submit("thread", 2)
            await wait_all_tasks_blocked()
            assert job.state is JobState.QUEUED
            gate.open()
            assert await job.result() == 4


@needs_interpreters
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_virtual_clock_waits_for_an_interpreter(backend: Backend) -> None:
    async def main() -> None:
        async with Executor(registry_of(future_handlers.double, execute_in=ExecuteIn.INTERPRETER)).run() as running:
            with anyio.fail_after(1000):
                assert await running.submit("job", 2).result() == 4

    run(main, backend=backend)


# Scripts

SCRIPT = """
import sys
import anyio
import jockey

class Point:
    def __init__(self, x):
        self.x = x

def move(point):
    return Point(point.x + 1)

def spin(_):
    while True:
        pass

registry = jockey.Registry()
registry.add("move", execute_in=jockey.ExecuteIn.INTERPRETER)(move)
registry.add("spin", execute_in=jockey.ExecuteIn.INTERPRETER, job_timeout=0.05)(spin)

async def main():
    async with jockey.Executor(registry, grace=0.05, on_error=lambda error, _: print(error)).run() as running:
        print((await running.submit("move", Point(1)).result()).x)
        print(repr((await running.submit("spin", None).wait()).error))
{guard}anyio.run(main, backend={backend!r})
"""


def run_script(path: Path, *, guard: str, backend: str) -> subprocess.CompletedProcess[str]:
    path.write_text(textwrap.dedent(SCRIPT).format(guard=guard, backend=backend))
    return subprocess.run(
        [sys.executable, "-W", "error", path], capture_output=True, text=True, timeout=240, check=False
    )


@needs_interpreters
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_functions_of_a_script_work_and_one_that_hangs_does_not_keep_the_program_from_ending(
    tmp_path: Path, backend: str
) -> None:
    done = run_script(tmp_path / "script.py", guard='if __name__ == "__main__": ', backend=backend)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "2",
        "'spin' was stopped, but an interpreter cannot be; it keeps its slot until it ends",
        """JobTimeoutError("'spin' did not end within 0.05 seconds")""",
        "gave up on an interpreter that still runs 'spin'; it ends with the program at the latest",
    ]


@needs_interpreters
def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    done = run_script(tmp_path / "script.py", guard="", backend="asyncio")

    assert done.returncode == 1
    assert done.stderr.count("RegistrationError: an executor must not start while a script is imported") == 1
    assert (
        "TransferError: the payload of 'move'" in done.stderr or "TransferError: the handler of 'move'" in done.stderr
    )


# The program that runs in interpreters, in this one: so it can be looked at


class InThisInterpreter:
    """Stands for an interpreter of `concurrent.interpreters`, which comes with Python 3.14."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.is_closed = False
        made.append(self)

    def prepare_main(self, **names: object) -> None:
        self.names |= names

    def exec(self, code: str, /) -> None:
        kept = {name: sys.modules[name] for name in ("jockey", "jockey._backends")}
        is_ours = "_interpreters" not in sys.modules
        sys.modules.setdefault("_interpreters", types.ModuleType("_interpreters"))
        exec(code, self.names)  # noqa: S102
        sys.modules.update(kept)
        if is_ours:
            del sys.modules["_interpreters"]

    def close(self) -> None:
        self.is_closed = True


made: list[InThisInterpreter] = []


async def test_the_interpreters_of_python_3_14_are_used_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("concurrent.interpreters")
    module.create = InThisInterpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "concurrent.interpreters", module)
    monkeypatch.setattr(sys, "argv", sys.argv)
    made.clear()

    threads = ThreadBackend(_runtime.current(), lambda _: None)
    backend = InterpreterBackend(threads, initializer=interpreter_handlers.take, initargs=(1,))
    results = [
        await backend.run(future_handlers.double, 4),
        await backend.run(interpreter_handlers.repeat, 60_000 * "x"),
    ]
    with pytest.raises(ZeroDivisionError):
        await backend.run(future_handlers.fail, 4)
    await backend.aclose()
    await backend.aclose()
    await threads.close()

    assert results == [8, 180_000 * "x"]
    assert [interpreter.is_closed for interpreter in made] == [True]


def ends_of(program: Program, function: Callable[[Any], Any], *payloads: object) -> list[tuple[int, bytes]]:
    reply = bytearray(100_000)
    request = (pickle.dumps(function), [pickle.dumps(payload) for payload in payloads])
    program.answer(pickle.dumps(request), memoryview(reply))
    (length,) = LENGTH.unpack_from(reply)
    ends: list[tuple[int, bytes]] = unpickled(reply[LENGTH.size : LENGTH.size + length])
    return ends


def unpickled(what: bytes | bytearray) -> Any:
    return pickle.loads(what)  # noqa: S301 - of our own making


@pytest.mark.parametrize("name", [None, "program_of_somebody"])
def test_a_script_is_imported_once_and_only_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    path = tmp_path / "program_of_somebody.py"
    path.write_text("print('imported', __name__)\ndef add(number): return number + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    main = types.ModuleType("__main__")
    main.add = types.FunctionType(future_handlers.double.__code__, {}, "add")  # type: ignore[attr-defined]
    main.add.__module__, main.add.__qualname__ = "__main__", "add"
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.delitem(sys.modules, "__mp_main__", raising=False)
    program = Program((name, None if name else str(path)))

    before = ends_of(program, future_handlers.double, 1)
    with pytest.MonkeyPatch.context() as patch:
        output: list[tuple[object, ...]] = []
        patch.setattr("builtins.print", lambda *args: output.append(args))
        after = [ends_of(program, main.add, 1, 2), ends_of(program, main.add, 3)]
    assert [kind for ends in after for kind, _ in ends] == [0, 0, 0], after
    monkeypatch.delitem(sys.modules, "__mp_main__")

    assert [unpickled(body) for _, body in before] == [2]
    assert [[unpickled(body) for _, body in ends] for ends in after] == [[2, 3], [4]]
    assert output == [("imported", "__mp_main__")]


@pytest.mark.parametrize(
    ("function", "payload", "kind"),
    [
        (future_handlers.double, 1, 0),
        (future_handlers.fail, 1, 1),
        (interpreter_handlers.raise_unsendable, 1, 2),
        (interpreter_handlers.return_lock, 1, 2),
        (interpreter_handlers.take, interpreter_handlers.Reluctant(), 2),
        (interpreter_handlers.Reluctant(), 1, 2),
    ],
)
def test_each_call_comes_to_an_end(function: Callable[[Any], Any], payload: object, kind: int) -> None:
    ((found, _),) = ends_of(Program(None), function, payload)

    assert found == kind


def test_an_initializer_that_raises_is_told() -> None:
    reply = bytearray(10_000)

    Program(None).initialize(pickle.dumps((interpreter_handlers.refuse, ())), memoryview(reply))

    (length,) = LENGTH.unpack_from(reply)
    assert unpickled(reply[LENGTH.size : LENGTH.size + length])[0] == 1
