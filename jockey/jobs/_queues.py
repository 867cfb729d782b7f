"""The queues of an app, and its dead letters: what operators do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jockey.jobs._options import job_id, queue_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jockey.jobs._app import App
    from jockey.jobs._broker import QueueInfo, Record, WorkerInfo


class Queues:
    """
    The queues of an open app.

    All methods raise `BrokerUnavailableError` if the broker cannot be reached, and `RegistrationError` if the name of a
    queue is no text that can be written, or is empty.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app

    async def declare(self, *queues: str) -> None:
        """
        See to it that there are queues of these names; what is in them stays.

        Raises:
            RegistrationError: A name is no text, or is empty; nothing was declared.
        """
        for queue in [queue_name(queue) for queue in queues]:
            await self._app.broker.declare(queue)

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        """
        Return what is in one queue, or in all that the broker knows of.

        Raises:
            QueueNotDeclaredError: There is no such queue: it was not declared, and nothing is in it.
        """
        return await self._app.broker.info(_known(queue))

    async def workers(self) -> Sequence[WorkerInfo]:
        """
        Return the workers that are there, busy or idle, by name.

        In memory they are those of this process. SQLite sees a worker that was killed for 45 seconds more. RabbitMQ
        knows no names, so there they are only those that run something, and that from the store.

        Raises:
            UnsupportedError: The broker is RabbitMQ, and the app has no store.
        """
        return await self._app.broker.workers()

    async def size(self, queue: str) -> int:
        """
        Return how many jobs wait in a queue, for a worker or for their time.

        Raises:
            QueueNotDeclaredError: There is no such queue, as in `info`.
        """
        return sum(info.ready + info.delayed for info in await self.info(queue))

    async def peek(self, queue: str, count: int = 10) -> Sequence[Record]:
        """
        Return the first *count* waiting jobs, without taking them.

        Raises:
            QueueNotDeclaredError: There is no such queue, as in `info`.
        """
        return await self._app.broker.peek(queue_name(queue), count)

    async def purge(self, queue: str) -> int:
        """
        Remove all that waits in a queue; return how many.

        Raises:
            QueueNotDeclaredError: There is no such queue, as in `info`.
        """
        return await self._app.broker.purge(queue_name(queue))

    async def delete(self, queue: str) -> None:
        """Remove a queue, with all that waits in it; it need not be there."""
        await self._app.broker.delete(queue_name(queue))


class DeadLetters:
    """The jobs of an open app that cannot succeed; all methods raise what those of `Queues` raise, of ids, too."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app

    async def list(self, queue: str | None = None, *, count: int = 100) -> Sequence[Record]:
        """
        Return at most *count* of them, the newest first; of one queue, or of all.

        Raises:
            QueueNotDeclaredError: There is no such queue: it was not declared, and nothing is in it.
        """
        return await self._app.broker.dead(_known(queue), count=count)

    async def replay(self, *ids: str) -> int:
        """Put them back in their queues, with no attempts spent; return how many there were."""
        return await self._app.broker.replay([job_id(id_) for id_ in ids])

    async def drop(self, *ids: str) -> int:
        """Remove them for good; return how many there were."""
        return await self._app.broker.drop([job_id(id_) for id_ in ids])


def _known(queue: str | None) -> str | None:
    return None if queue is None else queue_name(queue)
