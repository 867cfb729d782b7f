"""Whole programs: what `__main__` defines, programs without a guard, and programs that are killed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.backends.process_script import Script


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_what_the_script_defines_can_be_sent_both_ways(script: Script) -> None:
    text = """
    class Point:
        def __init__(self, x): self.x = x

    class Wrong(Exception): pass

    def double(point): return Point(2 * point.x)

    def refuse(point): raise Wrong(point)
    """
    main = """
    point = await pool.run(double, Point(21))
    print(type(point) is Point, point.x)
    try:
        await pool.run(refuse, point)
    except Wrong as exc:
        print("wrong", exc.args[0].x)
    """

    assert script.run(textwrap.dedent(text), main=main).splitlines() == ["True 42", "wrong 42"]


def test_worker_has_path_arguments_and_standard_input_of_its_parent(script: Script) -> None:
    text = """
    def handler(_): return sys.argv, sys.path, os.getcwd(), input()
    """
    main = """
    argv, path, cwd, line = await pool.run(handler, None)
    print(argv == sys.argv, path == sys.path, cwd == os.getcwd(), line)
    """

    assert script.run(textwrap.dedent(text), stdin="a line\n", main=main) == "True True True a line\n"


def test_files_next_to_the_script_do_not_shadow_what_the_worker_imports(script: Script, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "struct.py").write_text("raise ImportError('shadowed')")
    main = """
    os.chdir("elsewhere")
    print(await pool.run(handler, None))
    """

    assert script.run("def handler(_): return 'fine'\n", main=main) == "fine\n"


def test_proxy_of_a_manager_works_in_a_worker(script: Script) -> None:
    text = """
    import multiprocessing

    def handler(shared): shared.append(os.getpid())
    """
    main = """
    with multiprocessing.get_context("spawn").Manager() as manager:
        shared = manager.list()
        await pool.run(handler, shared)
        print(len(shared), os.getpid() in shared)
    """

    assert script.run(textwrap.dedent(text), main=main) == "1 False\n"


UNGUARDED = """
print("imported", flush=True)

def handler(size): return size

async def main():
    pool = ProcessBackend(max_jobs_per_process=None)
    for payload in None, bytes(2**22):
        try:
            await pool.run(handler, payload)
        except jockey.TransferError as exc:
            print("TransferError", exc)
    await pool.aclose()

anyio.run(main)
"""


def test_script_without_a_guard_fails_its_jobs_and_starts_no_flood(script: Script) -> None:
    out = script.output_of(UNGUARDED)

    assert out.splitlines().count("imported") == 3
    assert out.count("TransferError the worker process cannot import the script that the parent runs") == 2
    assert 'put what starts it under `if __name__ == "__main__":`' in out


def test_script_that_forks_while_it_is_imported_answers_once(script: Script) -> None:
    text = """
    if __name__ != "__main__":
        os.fork()
        raise RuntimeError("both sides")
    def handler(_): pass
    """
    main = """
    try:
        await pool.run(handler, None)
    except jockey.TransferError as exc:
        print("both sides" in str(exc))
    """

    assert script.run(textwrap.dedent(text), main=main) == "True\n"


def test_worker_that_dies_while_it_imports_the_script_fails_the_job(script: Script) -> None:
    text = """
    if __name__ != "__main__":
        os._exit(9)
    def handler(_): pass
    """
    main = """
    from jockey import WorkerDiedError
    try:
        await pool.run(handler, None)
    except WorkerDiedError as exc:
        print("died:", exc.exit_code)
    """

    assert script.run(textwrap.dedent(text), main=main) == "died: 9\n"


def test_interrupt_from_the_terminal_is_the_parents_business(script: Script) -> None:
    text = """
    def handler(_):
        os.killpg(0, signal.SIGINT)
        return "survived"
    """
    main = """
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(await pool.run(handler, None))
    """

    assert script.run(textwrap.dedent(text), main=main) == "survived\n"
