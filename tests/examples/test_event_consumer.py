"""examples/event_consumer.py keeps the order of each account and never holds more events than jobs may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.examples.program import output, variant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "run",
    [
        pytest.param("anyio.run(main)", id="asyncio"),
        pytest.param("anyio.run(main, backend_options={'use_uvloop': True})", id="uvloop"),
        pytest.param("anyio.run(main, backend='trio')", id="trio"),
    ],
)
def test_prints_the_journals_in_order(run: str, tmp_path: Path) -> None:
    *journals, in_hand, claimed = output(variant("event_consumer.py", {"anyio.run(main)": run}, tmp_path))

    assert sorted(journals) == ["blue: [1, 2, 3, 4, 5]", "green: [1, 2, 3, 4, 5]", "red: [1, 2, 3, 4, 5]"]
    assert in_hand == "events in hand: 0, at most 4"
    assert claimed == "claimed again while in work: True"
