from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.jobs.conformance.carriers import CARRIERS, Bench, Carrier


@pytest.fixture(params=list(CARRIERS))
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Carrier:
    return CARRIERS[request.param](tmp_path)


@pytest.fixture
async def bench(carrier: Carrier) -> AsyncIterator[Bench]:
    broker = carrier.connect()
    await broker.open()
    await broker.declare("default")
    yield Bench(carrier, broker)
    await broker.close()
