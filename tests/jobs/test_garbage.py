"""Jobs leave nothing for the garbage collector: to look for it would cost more than to run them."""

from __future__ import annotations

import gc

import pytest

from jockey.jobs import Retry
from jockey.jobs._delivery import DeliveryAdapter
from tests.jobs.shop import app_of, burst

pytestmark = pytest.mark.anyio


def deliveries() -> list[object]:
    """Return what there is, of tests before this one, too."""
    return [each for each in gc.get_objects() if type(each) is DeliveryAdapter]


async def test_a_job_is_gone_as_soon_as_it_has_ended() -> None:
    app = app_of()

    @app.task
    async def noop() -> None: ...

    @app.task(retry=Retry.never)
    async def fail() -> None:
        raise RuntimeError

    gc.collect()
    of_others = deliveries()
    gc.disable()
    try:
        async with app:
            await noop.enqueue()
            await fail.enqueue()
            await burst(app)
            assert [each for each in deliveries() if each not in of_others] == []
    finally:
        gc.enable()
