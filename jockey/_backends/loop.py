"""Running a handler in the event loop."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jockey._handler import Handler


def in_loop(handler: Handler[Any, Any]) -> Callable[[Any], Awaitable[Any]]:
    """Return what runs *handler*: its function itself if that is async, since each wrapper costs."""
    function: Callable[[Any], Any] = handler.function
    if handler.is_async:
        return function

    async def call(payload: Any) -> Any:
        result = function(payload)
        return await result if inspect.isawaitable(result) else result

    return call
