"""Programs that tests run as scripts of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

HEAD = """
import logging, os, signal, sys, time
import anyio, jockey
from jockey._backends.process import ProcessBackend
# In asyncio's debug mode every step that is slow is a warning, which tells about the machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)
"""


class Script:
    """Programs in a directory of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, text: str, *arguments: str) -> subprocess.Popen[str]:
        path = self._folder / "script.py"
        path.write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
        folders = f"{self._folder}:{ROOT}"
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(path), *arguments],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": folders},
        )

    def run(self, text: str, *, stdin: str = "", main: str = "await pool.run(handler, None)") -> str:
        """Run the program with a main that starts a pool; return what it prints."""
        return self.output_of(text + MAIN.format(main=textwrap.indent(textwrap.dedent(main), " " * 4)), stdin=stdin)

    def output_of(self, text: str, *, stdin: str = "") -> str:
        with self.start(text) as process:
            out, err = process.communicate(stdin)
        assert (process.returncode, err) == (0, "")
        return out


MAIN = """
async def main():
    pool = ProcessBackend(max_jobs_per_process=None)
{main}
    await pool.aclose()

if __name__ == "__main__":
    anyio.run(main)
"""
