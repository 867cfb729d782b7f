"""External programs as tasks."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey import RegistrationError
from jockey.jobs import _command
from jockey.jobs._command import command
from jockey.jobs._errors import CommandFailedError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Not on each event loop of asyncio: each test starts programs."""
    return request.param


def python(code: str, *words: str, **options: Any) -> Any:
    return command([sys.executable, "-c", code, *words], **options)


async def test_arguments_arrive_on_the_standard_input_and_the_result_comes_from_the_standard_output() -> None:
    run = python("import json, sys; print(json.dumps([sys.argv[1:], json.load(sys.stdin)]))", "--loud")

    result = await run(one="1", two=[2, None])

    assert result == [["--loud"], {"one": "1", "two": [2, None]}]


async def test_no_output_is_none() -> None:
    assert await python("print()")() is None


async def test_a_program_need_not_read_its_arguments() -> None:
    assert await python("import os; os.close(0); print(1)")(text="x" * 1_000_000) == 1


async def test_much_output_of_both_kinds_does_not_block_it() -> None:
    run = python("import sys; sys.stderr.write('e' * 1_000_000); print('[' + '1,' * 300_000 + '1]')")

    assert len(await run()) == 300_001


async def test_an_exit_code_is_a_failure_that_tells_what_the_program_said() -> None:
    run = python("import sys; sys.stderr.write('x' * 100_000 + 'no such customer\\n'); sys.exit(3)")

    with pytest.raises(CommandFailedError, match="ended with the exit code 3; it said: x") as caught:
        await run()

    assert caught.value.exit_code == 3
    assert len(caught.value.stderr) == 8192
    assert caught.value.stderr.endswith("no such customer\n")


async def test_a_silent_failure_is_one() -> None:
    with pytest.raises(CommandFailedError, match=r"ended with the exit code -15$"):
        await python("import os; os.kill(os.getpid(), 15)")()


@pytest.mark.parametrize(
    ("output", "shown"), [("hello", "'hello'"), ("[1] 2", "'[1] 2'"), ("[" * 5000, "..."), ("\\xff", r"'\xff'")]
)
async def test_output_that_is_no_json_is_a_failure(output: str, shown: str) -> None:
    with pytest.raises(CommandFailedError, match=rf"is no JSON: .*; it is b.*{re.escape(shown)}.*; all else belongs"):
        await python(f"import sys; sys.stdout.buffer.write(b'{output}')")()


async def test_too_much_output_is_a_failure_and_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_command, "MAX_OUTPUT", 100_000)

    with pytest.raises(CommandFailedError, match="has written more than 100000 bytes"):
        await python("while True: print('x' * 1000)")()


async def test_a_program_that_is_not_there_is_a_failure() -> None:
    with pytest.raises(CommandFailedError, match="'/no/such/program' could not be started") as caught:
        await command(["/no/such/program"])()

    assert caught.value.exit_code is None


async def test_secrets_travel_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    code = "import json, os; print(json.dumps([os.environ['TOKEN'], os.environ['INHERITED']]))"

    assert await python(code, env={"TOKEN": "s3cret"})() == ["s3cret", "yes"]


async def test_it_runs_in_the_directory_that_is_said(tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps(os.path.samefile(os.getcwd(), sys.argv[1])))"

    assert await python(f"import sys; {code}", str(tmp_path), cwd=tmp_path)() is True


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"])
open(sys.argv[1], "w").write(str(child.pid))
print(end="", flush=True)
"""


async def wait_for(path: Path) -> int:
    while not (text := written(path)):
        await anyio.sleep(0.01)
    return int(text)


def written(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def is_running(pid: int) -> bool:
    # Killed, it may be a zombie for as long as nobody has fetched it.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it is gone between opening and reading
        return False


async def gone(pid: int) -> None:
    while is_running(pid):
        await anyio.sleep(0.01)


async def test_a_cancelled_program_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    run = python(FAMILY + "time.sleep(600)", str(path))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        pid = await wait_for(path)
        tasks.cancel_scope.cancel()

    await gone(pid)


async def test_what_a_program_leaves_behind_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pid"

    assert await python(FAMILY + "time.sleep(0.1)", str(path))() in {1, None}

    await gone(await wait_for(path))


async def test_it_is_in_a_group_of_its_own_which_signals_for_the_worker_do_not_reach() -> None:
    assert await python("import os; print(int(os.getpgid(0) == os.getpid()))")() == 1


@pytest.mark.parametrize("program", ["ls -l", [], [""], ["ls", 1]], ids=repr)
def test_a_program_that_makes_no_sense_is_refused(program: Any) -> None:
    with pytest.raises(RegistrationError, match="a command must be a list"):
        command(program)


@pytest.mark.parametrize("env", [["A"], {"A": 1}, {1: "A"}], ids=repr)
def test_an_environment_that_makes_no_sense_is_refused_without_showing_its_values(env: Any) -> None:
    with pytest.raises(RegistrationError, match="env must be a dict of strings"):
        command(["ls"], env=env)


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(CommandFailedError("no", 3, "said")))  # noqa: S301 - of our own making

    assert (str(error), error.exit_code, error.stderr) == ("no", 3, "said")
