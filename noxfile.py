"""Everything that must pass: `nox` runs all, `nox --list` tells what there is, `nox -s tests-3.13` runs a part."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.2.9"
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "uv|virtualenv"

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]
IN_CI = bool(os.environ.get("CI"))

# Without its bytecode each of the hundred modules, and of the tests, is compiled again in every process that starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Many tests wait, and do not compute. Which of them stay together is told in tests/distribution.py.
FOUR_PROCESSES = ["--numprocesses=4"]

# What is about programs beside the package tells nothing more on another Python: it is for the newest.
NOT_ONCE = ["-m", "not once"]
FEWER_PROGRAMS = ["--fuzz-programs=300"]
# A Python between the ends runs no line that they do not run: each test on one event loop, the quick ones.
MIDDLE = ["-m", "not once and not ends and not another_loop and not broker"]
SHARE = {OLDEST: [*NOT_ONCE, *FEWER_PROGRAMS], NEWEST: []}

# To measure it nearly doubles the time of the tests. The newest Python runs every line, also those for older ones.
COVERAGE_DATA = Path(".coverage").absolute()
MEASURING = {"COVERAGE_FILE": str(COVERAGE_DATA)}
PYODIDE = "pyodide@314"

# Variables, and not options of Python: so worker processes have them too. On one event loop: no other changes what is
# shown in the one mode, or compiled away in the other.
HARDENED = [{"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"}, {"PYTHONOPTIMIZE": "1"}]
HARDENED_SHARE = ["-m", "not once and not another_loop", *FEWER_PROGRAMS]

# What a fresh environment, which has nothing but the built package, must be able to say.
CHECK_INSTALLED = """
import importlib.metadata, importlib.resources, sys
import jockey
metadata = importlib.metadata.metadata("jockey")
assert jockey.__file__.startswith(sys.prefix), jockey.__file__
assert importlib.resources.files("jockey").joinpath("py.typed").is_file(), "py.typed is missing"
assert metadata["License-Expression"] == "MIT", metadata["License-Expression"]
places = {file.parts[0] for file in importlib.metadata.files("jockey")} - {".."}  # the command is elsewhere
assert places == {"jockey", f"jockey-{metadata['Version']}.dist-info"}, f"the wheel installs {places}"
print("installed and imported:", metadata["Name"], metadata["Version"], "on Python", sys.version.split()[0])
"""


def add_pyenv_to_path() -> set[str]:
    """Make the Pythons that pyenv has installed, but not activated, findable; return which of ours these are."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = {python: newest for python in PYTHONS if (newest := newest_patch(root / "versions", python))}
    for directory in found.values():
        os.environ["PATH"] += os.pathsep + str(directory / "bin")
    return set(found)


def newest_patch(versions: Path, python: str) -> Path | None:
    """Return the directory of the newest release of *python*, such as "3.12", below *versions*."""
    releases = [path for path in versions.glob(f"{python}.*") if re.fullmatch(r"[0-9.]+", path.name)]
    return max(releases, key=lambda path: int(path.name.rpartition(".")[2]), default=None)


# A Python that is not on this machine is skipped, and the summary says so. Where pyenv has them all, such a skip can
# only be a mistake, which CI must not hide.
nox.options.error_on_missing_interpreters = add_pyenv_to_path() == set(PYTHONS) and IN_CI


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style of all code, and its formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # What ruff lacks of it. ASYNC109 is answered in pyproject.toml; the ASYNC9 are for code that needs checkpoints
    # everywhere, but an executor's fast path lives on having few. ASYNC124 would have async tasks await something.
    # To catch all that a handler raises, and to make an outcome of it, is the work of this library: no 103, no 104.
    # Tests swallow cancellations and block loops on purpose; ruff's share of these rules is enough for them.
    shipped = [path for path in python_files() if path.startswith(("jockey", "examples"))]
    session.run("flake8-async", "--anyio", "--disable=ASYNC103,ASYNC104,ASYNC109,ASYNC124,ASYNC9", *shipped, log=False)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types: strictly, with two checkers."""
    session.install("--editable", ".", *group("types"))
    session.run("mypy", "jockey", "examples", "tests/typing", "noxfile.py")
    # Named, because it would take an environment called .venv for the one to look into.
    session.run("basedpyright", "--pythonpath", shutil.which("python", path=session.bin) or "python")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; whatever Sphinx warns about is an error."""
    session.install("--editable", ".", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the sdist, install each into an environment that has nothing else, and import it."""
    session.install(*group("build"))
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    for archive in dist.iterdir():
        check_installed(session, archive)


def check_installed(session: nox.Session, archive: Path) -> None:
    fresh = Path(session.create_tmp()) / "fresh"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    python = str(fresh / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(archive), external=True)
    session.run(python, "-I", "-c", CHECK_INSTALLED, external=True, log=False)
    # Nothing of its extra is here, so it says what to install, and that this is an error.
    session.run(str(Path(python).with_name("jockey")), external=True, success_codes=[2])


@nox.session
def pyodide(session: nox.Session) -> None:
    """Run jobs in a browser's Python, which has neither threads nor processes."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing and not IN_CI:
        session.skip(f"{' and '.join(missing)} not found: install Node.js to run this session")
    tmp = Path(session.create_tmp())
    shutil.rmtree(tmp / "site", ignore_errors=True)
    session.install("pip")
    session.run("python", "-m", "pip", "install", "--quiet", "--target", str(tmp / "site"), *run_time_dependencies())
    session.run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp), PYODIDE, external=True)
    # Node looks for modules beside the script, so the script goes to where they are.
    shutil.copy("tests/pyodide/run.mjs", tmp)
    session.run("node", str(tmp / "run.mjs"), str(Path.cwd()), str(tmp / "site"), external=True)


@nox.session(python=NEWEST)
def hardened(session: nox.Session) -> None:
    """Run the tests in Python's development mode and asyncio's debug mode, and with assertions compiled away."""
    session.install("--editable", ".", *group("tests"))
    # Those of the tests are compiled by pytest, and stay; it warns that others do not, which is the point.
    ignored = "--pythonwarnings=ignore:assertions not in test modules:pytest.PytestConfigWarning"
    # Of the tests those that look for what these modes can show: of the core, and some chance; not whether the fuzzer
    # sees what is broken.
    parts = session.posargs or [*FOUR_PROCESSES, *HARDENED_SHARE, "tests/core", "tests/fuzz"]
    for environment in HARDENED:
        session.run("pytest", ignored, *parts, env=environment)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, with the oldest dependencies on the oldest Python; measure what they reach on the newest."""
    oldest = lower_bounds(run_time_dependencies()) if session.python == OLDEST else []
    session.install("--editable", ".", *group("tests"), *oldest)
    if session.python != NEWEST:
        session.run("pytest", *pytest_options(session))
        return
    session.run("coverage", "erase", env=MEASURING)
    # Also after a failure, or the parts that each process has written would be lying around.
    try:
        session.run("coverage", "run", "-m", "pytest", *pytest_options(session), env=MEASURING)
    finally:
        session.run("coverage", "combine", "--quiet", env=MEASURING)


@nox.session
def coverage(session: nox.Session) -> None:
    """Demand that the tests reach every branch."""
    session.install(*(requirement for requirement in group("tests") if requirement.startswith("coverage")))
    if not COVERAGE_DATA.exists():
        refuse = session.error if IN_CI else session.skip
        refuse(f"this takes what the session `tests-{NEWEST}` has measured")
    session.run("coverage", "report", env=MEASURING)


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def run_time_dependencies() -> list[str]:
    return list(PYPROJECT["project"]["dependencies"])


def lower_bounds(requirements: list[str]) -> list[str]:
    """Turn ">=" into "==": a bound that nobody has ever run with is a guess."""
    return [requirement.replace(">=", "==") for requirement in requirements]


def pytest_options(session: nox.Session) -> list[str]:
    """Return what was given after `--`, or else to use four processes."""
    return session.posargs or [*FOUR_PROCESSES, *SHARE.get(str(session.python), MIDDLE)]


def python_files() -> list[str]:
    directories = ("jockey", "tests", "examples")
    return [str(path) for directory in directories for path in sorted(Path(directory).rglob("*.py"))]
