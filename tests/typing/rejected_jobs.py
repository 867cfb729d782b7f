"""What type checkers must reject of the jobs layer: an ignore that is not needed is itself an error. Never run."""

from __future__ import annotations

from jockey import jobs


class Services: ...


class Other: ...


app = jobs.App[Services]()
router = jobs.Router()
stateful = jobs.Router[Services]()


@app.task
async def send(to: str, *, subject: str = "hello") -> int:
    return len(to + subject)


@app.task(queue="mail")
def resize(context: jobs.Context[Services], image: str, width: int) -> str:
    return image


# Arguments: wrong, missing, too many, unknown; and the context is none


async def arguments() -> None:
    await send.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send.enqueue("a", "b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send.enqueue("a", topic="b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await send.enqueue("a", subject=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await resize.enqueue("a", "b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send.options(delay=3).enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    resize("a", 1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    send.si()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.s(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


# Results


async def results() -> None:
    _text: str = await (await send.enqueue("a")).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _job: jobs.Job[str] = await send.enqueue("a")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# Options: unknown ones, and wrong values


def options() -> None:
    send.options(wait=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.options(delay="soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.options(priority=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.task(id="a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    app.task(unique_for="ever")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    jobs.Retry(mode="cubic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    jobs.Router(delay=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# The state: a router's must be the app's


jobs.App[Other]().include(stateful)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
router.include(stateful)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# Workflows: nobody gives the first argument; the results of a group come as a list; a group does not follow a group


async def workflows() -> None:
    await resize.s(width=1).enqueue()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    send.s("a") >> 3  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    # What comes after takes what the one before it returns; so it is when it has a name of its own.
    send.s("a") >> send.s()  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    tail = send.s()
    send.s("a") >> tail  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    several = jobs.group(send.s("a"), send.s("b"))
    several >> several  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    jobs.chain(send.s("a"), send)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
