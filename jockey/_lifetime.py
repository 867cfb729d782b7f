"""The block in which an executor runs: how it begins, and how it ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio

from jockey._backends._guard import check_not_preparing_main
from jockey._engine import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from jockey._engine import Settings
    from jockey._registry import Registry


@contextlib.asynccontextmanager
async def running(registry: Registry[Any, Any, Any], settings: Settings) -> AsyncGenerator[Engine, None]:
    """Run jobs inside the block; see `Executor.run`."""
    check_not_preparing_main()
    with registry.in_use():
        engine = Engine(registry, settings)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.host, tasks.cancel_scope.cancel)
            try:
                await engine.is_ready.wait()
                yield engine
                await engine.drain(settings.drain_timeout)
            except anyio.get_cancelled_exc_class():
                engine.stop("the code in the block of run() was cancelled")
                raise
            except BaseException as raised:
                engine.stop(f"the code in the block of run() raised {raised!r}")
                engine.fatal = engine.fatal or raised
            else:
                engine.close("the block of run() was left")
            finally:
                engine.leave()
    if engine.fatal is not None:
        raise engine.fatal
