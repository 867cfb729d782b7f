"""An initializer for threads: it runs in each before the first item there."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from jockey._errors import InitializerError

if TYPE_CHECKING:
    from collections.abc import Callable


def once_in_each_thread(
    function: Callable[[Any], Any], initializer: Callable[..., object], initargs: tuple[object, ...], *, is_async: bool
) -> Callable[[Any], Any]:
    """
    Return *function* with the call of *initializer* before it, in each thread that has not called it.

    Where that raises, what is returned raises `InitializerError`.
    """
    local = threading.local()

    def initialize() -> None:
        if hasattr(local, "is_initialized"):
            return
        try:
            initializer(*initargs)
        except Exception as error:
            raise InitializerError(
                f"the initializer raised {error!r} in {threading.current_thread().name!r}"
            ) from error
        local.is_initialized = True

    def call(item: Any) -> Any:
        initialize()
        return function(item)

    async def call_async(item: Any) -> Any:
        initialize()
        return await function(item)

    return functools.wraps(function)(call_async if is_async else call)
