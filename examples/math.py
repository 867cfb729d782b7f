"""
Calculate: the smallest whole program.

Shows an adapter that prints what becomes of its message, a registry with a handler in the event loop, one in a worker
process and one that is async, and an executor that runs all messages at once.

    pip install jockey
    python examples/math.py
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import jockey

# What a handler is called with: two numbers.
Payload = tuple[int, int]
# What a handler is found by: the sign of its operation.
Key = str
# What a handler returns.
Result = float


@dataclass
class Message(jockey.Adapter[Payload, Key, Result]):
    left: int
    op: Key
    right: int

    def get_keys(self) -> Iterator[Key]:
        yield self.op

    async def get_payload(self) -> Payload:
        return (self.left, self.right)

    async def on_success(self, result: Result) -> None:
        print(f"SUCCESS: {self.left} {self.op} {self.right} = {result}")

    async def on_failure(self, exc: Exception) -> None:
        print(f"FAILURE: {self.left} {self.op} {self.right} caused {exc!r}")

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        print(f"CANCELED: {self.left} {self.op} {self.right}")


class Registry(jockey.Registry[Payload, Key, Result]):
    pass


registry = Registry()


@registry.add("+")
def _add(payload: Payload) -> Result:
    left, right = payload
    return left + right


# One at a time, or two processes would race for who prints first.
@registry.add("/", execute_in=jockey.ExecuteIn.PROCESS, max_jobs=1)
def _div(payload: Payload) -> Result:
    left, right = payload
    return left / right


@registry.add("-")
async def _sub(payload: Payload) -> Result:
    left, right = payload
    await asyncio.sleep(1)
    # No slip: whatever the sign says, this one divides. What it shows is that a handler that waits holds up nobody.
    return left / right


async def main() -> None:
    async with jockey.Executor(registry).run() as executor:
        messages = [
            Message(3, "-", 2),
            Message(4, "+", 5),
            Message(3, "/", 2),
            Message(3, "/", 0),
            Message(3, "+", 0),
        ]
        for message in messages:
            executor.schedule(message)
    # Leaving the block has waited for every message.


if __name__ == "__main__":
    asyncio.run(main())
