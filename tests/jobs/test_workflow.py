"""What follows what: signatures, the messages that they become, and the ids that say who is who."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jockey import RegistrationError
from jockey.jobs import (
    App,
    ArgumentsError,
    Group,
    Message,
    PartialGroup,
    PartialSignature,
    Priority,
    Retry,
    Router,
    Signature,
    Trouble,
    chain,
    group,
)
from jockey.jobs._codec import decode, encode
from jockey.jobs._message import Join, Step
from jockey.jobs._signature import Flow, ends_of, steps_of
from jockey.jobs._workflow import after_join, branch_id, check_length, message_of, place_id, successors
from tests.jobs.shop import app_of, burst

router = Router()


@router.task(retry=Retry.once)
async def start(number: int) -> int:
    return number


@router.task(queue="other", priority=Priority.HIGH)
async def double(number: int, factor: int = 2) -> int:
    return number * factor


@router.task
async def scaled(number: int, factor: int) -> int:
    return number * factor


@router.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@router.task
async def ping(text: str = "ping") -> str:
    return text


@router.task
async def alert(error: Trouble) -> str:
    return error.message


@router.task
async def fail(number: int = 0) -> int:
    raise ValueError(f"no {number}")


def begun(flow: Any, root: str = "root") -> list[Message]:
    """Return the messages that begin a workflow, as they arrive at the workers."""
    steps = steps_of(flow.elements)
    ids = [root] if len(steps) == 1 else [f"{root}-{place}" for place in range(len(steps))]
    messages = [message_of(step, id_=id_, root=root, now=1.0) for step, id_ in zip(steps, ids, strict=True)]
    return [decode(encode(message), message.queue) for message in messages]


class Machine:
    """Runs workflows without a broker; every settlement is done twice, as if a crash had come between."""

    def __init__(self, run: Callable[[Message], object]) -> None:
        self.run = run
        self.jobs: dict[str, Message] = {}
        self.results: dict[str, Any] = {}
        self.runs: Counter[str] = Counter()
        self._joins: dict[str, dict[int, bytes]] = {}
        self._queue: list[Message] = []

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            known = self.jobs.setdefault(message.id, message)
            assert known == message, "two jobs have the same id"
            if known is message:
                self._queue.append(message)

    def drain(self) -> None:
        while self._queue:
            message = self._queue.pop(0)
            self.runs[message.name] += 1
            value = self.run(message)
            self.results[message.id] = value
            result = msgspec.json.encode(value)
            for _ in range(2):
                self.publish(successors(message.on_success, message, value, now=1.0, tasks=router.tasks))
                if message.join is not None:
                    self._arrive(message.join, result)

    def _arrive(self, join: Join, result: bytes) -> None:
        arrived = self._joins.setdefault(join.id, {})
        assert arrived.setdefault(join.index, result) == result, "two groups have the same id"
        if len(arrived) == join.count:
            results = [arrived[index] for index in range(join.count)]
            self.publish([after_join(join, results, now=1.0, tasks=router.tasks)])


def test_a_signature_takes_what_it_lacks_and_nothing_else() -> None:
    assert isinstance(start.s(1), Signature)
    assert isinstance(start.s(), PartialSignature)
    assert isinstance(double.s(factor=3), PartialSignature)
    assert isinstance(ping.s(), Signature), "what is optional is not lacking"
    assert isinstance(double.s(3), Signature)
    assert isinstance(ping.si(), Signature)
    assert steps_of((start.s(1) >> double.s(factor=3) >> ping.s()).elements) == (
        Step(
            name="start",
            args=(1,),
            on_success=(
                Step(
                    name="double",
                    queue="other",
                    kwargs={"factor": 3},
                    takes=True,
                    options={"priority": 0},
                    on_success=(Step(name="ping"),),
                ),
            ),
        ),
    )


def test_arrows_make_new_signatures_and_change_none() -> None:
    one, two, three = start.s(1), double.s(), double.s(factor=3)

    left = (one >> two) >> three
    right = one >> (two >> three)

    assert steps_of(left.elements) == steps_of(right.elements) == steps_of(chain(one, two, three).elements)
    assert len(one.elements) == len(two.elements) == 1
    assert repr(left) == "<Signature start >> double >> double>"
    assert repr(one >> group(two, three) >> total.s()) == "<Signature start >> group(double, double) >> total>"


def test_kinds_of_workflows_are_told_apart() -> None:
    assert type(start.s() >> double.s()) is PartialSignature
    assert type(start.s(1) >> group(double.s(), ping.s())) is Group
    assert type(start.s() >> group(double.s(), ping.s())) is PartialGroup
    assert type(group(start.s(1), ping.s())) is Group
    assert type(group(start.s(1), double.s())) is PartialGroup
    assert type(group(start.s(1)) >> total.s()) is Signature
    assert type(group(start.s()) >> total.s()) is PartialSignature


@pytest.mark.parametrize("other", [3, start, None])
def test_only_signatures_follow(other: Any) -> None:
    for flow in (start.s(1), start.s(), group(start.s(1)), group(start.s())):
        with pytest.raises(TypeError, match="unsupported operand"):
            flow >> other


def test_a_group_does_not_follow_a_group() -> None:
    with pytest.raises(ArgumentsError, match="a group cannot follow a group: put a task between them"):
        group(start.s(1)) >> group(total.s())  # type: ignore[operator]
    with pytest.raises(ArgumentsError, match="a group cannot follow a group"):
        start.s(1) >> group(double.s()) >> group(total.s())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: group(), "a group of no jobs never ends"),
        (lambda: group(start), "a group is made of signatures that end in one job, got <Task.*use task.s()"),  # type: ignore[call-overload]
        (lambda: group(group(start.s(1))), "that end in one job, got <Group group.start.>"),  # type: ignore[call-overload]
        (lambda: chain(start.s(1)), "a chain has at least two signatures"),  # type: ignore[call-overload]
        (lambda: chain(start.s(1), double), "a chain is made of signatures, got <Task"),  # type: ignore[call-overload]
    ],
)
def test_what_is_no_workflow_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ArgumentsError, match=words):
        make()


def test_a_callback_that_is_none_is_refused() -> None:
    with pytest.raises(RegistrationError, match="a callback must be a task"):
        start.s(1).on_failure(3)  # type: ignore[arg-type]


def test_a_chain_hands_results_on() -> None:
    machine = Machine(lambda message: message.args)

    machine.publish(begun(start.s(1) >> double.s(factor=3) >> ping.s("a")))
    machine.drain()

    assert list(machine.results.values()) == [(1,), ((1,),), ("a",)]
    parents = [message.parent for message in machine.jobs.values()]
    assert parents == [None, *list(machine.jobs)[:2]]


def test_a_result_comes_before_the_arguments_that_are_there_already() -> None:
    machine = Machine(lambda message: message.args)

    machine.publish(begun(start.s(7) >> scaled.s(3)))
    machine.drain()

    assert list(machine.results.values()) == [(7,), ((7,), 3)]


def test_a_group_is_followed_by_one_job_with_all_results_in_their_order() -> None:
    machine = Machine(lambda message: message.args)

    machine.publish(begun(group(start.s(1) >> double.s(), ping.s("a"), start.s(2)) >> total.s()))
    machine.drain()

    assert machine.runs == Counter(start=2, double=1, ping=1, total=1)
    assert [*machine.results.values()][-1] == ([[[1]], ["a"], [2]],)


def test_a_task_that_lacks_nothing_follows_a_group_without_the_results() -> None:
    machine = Machine(lambda message: message.args)

    machine.publish(begun(group(start.s(1), start.s(2)) >> ping.s() >> ping.s("end")))
    machine.drain()

    assert [*machine.results.values()][-2:] == [(), ("end",)]


def branches(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    chained = st.lists(children, min_size=2, max_size=3).map(joined)
    grouped = st.lists(children, min_size=1, max_size=3).map(lambda flows: group(*flows) >> total.s())
    return chained | grouped


def joined(flows: list[Any]) -> Any:
    flow = flows[0]
    for other in flows[1:]:
        flow = flow >> other
    return flow


leaves = st.sampled_from(
    [ping.s("a"), start.s(1), start.options(on_success=group(ping.s(), ping.s()) >> ping.s()).s(2)]
)


def expected_jobs(messages: Sequence[Message]) -> int:
    """Count all steps: the follower of a group once, though each of its jobs has it."""
    seen: set[str] = set()

    def count(join: Join | None, steps: Sequence[Step]) -> int:
        number = sum(1 + count(step.join, step.on_success) for step in steps)
        if join is not None and join.id not in seen:
            seen.add(join.id)
            number += 1 + count(join.then.join, join.then.on_success)
        return number

    return sum(1 + count(message.join, message.on_success) for message in messages)


@settings(max_examples=60)
@given(st.recursive(leaves, branches, max_leaves=6))
def test_every_job_of_any_workflow_runs_once_and_the_last_ones_are_known(flow: Flow) -> None:
    machine = Machine(lambda message: message.name)
    messages = begun(flow)

    machine.publish(messages)
    machine.drain()

    assert sum(machine.runs.values()) == len(machine.jobs) == expected_jobs(messages)
    ends = ends_of(flow.elements, lambda place: messages[place].id, "root")
    assert len(ends) == 1
    traces = list(ends)
    while traces:
        trace = traces.pop()
        assert machine.results[trace.id] == trace.task.name
        traces.extend(trace.after)


def test_the_ids_of_what_follows_are_the_same_for_whoever_derives_them() -> None:
    steps = steps_of((ping.s() >> ping.s()).elements)
    parent = Message(id="7", name="a")

    first, again = (successors(steps, parent, 1, now=float(now)) for now in range(2))

    assert [message.id for message in first] == [message.id for message in again]
    assert first != again, "the time is another one"
    assert successors(steps, parent, 1, now=0.0, branch="failure")[0].id != first[0].id
    assert len({message.id for message in successors(steps * 3, parent, 1, now=0.0)}) == 3


def test_a_step_that_names_its_id_keeps_it() -> None:
    flow = start.s(1) >> double.options(id="mine", delay=5).s() >> ping.s()
    machine = Machine(lambda message: 1)

    machine.publish(begun(flow))
    machine.drain()

    assert list(machine.jobs)[1] == "mine"
    assert machine.jobs["mine"].not_before == 6.0
    [end] = ends_of(flow.elements, lambda place: "root", "root")
    assert [trace.id for trace in end.after] == ["mine"]
    assert end.id in machine.jobs


def test_what_begins_a_workflow_has_the_id_that_the_broker_told() -> None:
    flow = start.options(id="mine", unique="k").s(1) >> double.s()

    # Another job has that key, so this one was not enqueued.
    [end] = ends_of(flow.elements, lambda place: "its twin", "its twin")

    assert [trace.id for trace in end.after] == ["its twin"]
    assert end.id == place_id(branch_id("its twin", "success"), 0)


def test_whatever_is_dead_has_the_failure_callback_of_its_chain() -> None:
    flow = chain(start.s(1), group(fail.s(), double.s()), total.s(), on_failure=alert).on_failure("notify")

    def failures(steps: Sequence[Step]) -> Iterator[tuple[str, list[str]]]:
        for step in steps:
            yield step.name, [after.name for after in step.on_failure]
            yield from failures(step.on_success)
            if step.join is not None:
                yield from failures([step.join.then])

    found = list(failures(steps_of(flow.elements)))
    assert {name for name, _ in found} == {"start", "fail", "double", "total"}
    assert {tuple(names) for _, names in found} == {("alert", "notify")}


def test_groups_in_callbacks_are_not_mixed_up_with_those_of_the_workflow() -> None:
    own = group(ping.s("a"), ping.s("b")) >> ping.s("c")
    flow = group(start.options(on_success=own).s(1), start.options(on_success=[own, own]).s(1)) >> total.s()
    machine = Machine(lambda message: message.args)

    machine.publish(begun(flow))
    machine.drain()

    assert machine.runs == Counter(ping=9, start=2, total=1)


def test_groups_in_failure_callbacks_are_not_mixed_up_either() -> None:
    own = group(ping.s("a"), ping.s("b")) >> ping.s("c")
    flow = start.options(on_success=own, on_failure=[own, own]).s(1).on_failure(own).on_failure([own, own])

    # Twice in one process, as two jobs that are dead have it: no group of one is a group of the other.
    labels = [label for root in ("one", "other") for label in groups_in(begun(flow, root))]

    assert len(labels) == 2 * 2 * 6, "each group has two jobs"
    assert set(Counter(labels).values()) == {2}
    assert not any(label.startswith("#") for label in labels), "what travels has ids"


def groups_in(messages: Sequence[Message]) -> list[str]:
    """Return the ids of the groups to which the callbacks of these belong, one for each job."""
    return [
        step.join.id
        for message in messages
        for step in (*message.on_success, *message.on_failure)
        if step.join is not None
    ]


def test_when_a_step_begins_is_counted_from_its_end_or_is_the_time_it_names() -> None:
    parent = Message(id="7", name="a")
    steps = (Step(name="ping", options={"delay": 5.0}), Step(name="ping", options={"at": 90.0}), Step(name="ping"))

    assert [message.not_before for message in successors(steps, parent, 1, now=60.0)] == [65.0, 90.0, 0.0]


def test_names_alone_are_looked_up_where_the_tasks_are() -> None:
    steps = (Step(name="double", queue="", takes=True), Step(name="ping", queue="", takes=True))
    parent = Message(id="7", name="a")

    known = successors(steps, parent, 4, now=0.0, tasks=router.tasks)
    unknown = successors(steps, parent, 4, now=0.0)

    assert [(message.queue, message.args) for message in known] == [("other", (4,)), ("default", ())]
    assert [(message.queue, message.args) for message in unknown] == [("default", (4,))] * 2


def test_a_workflow_has_at_most_a_hundred_jobs_in_a_row() -> None:
    hundred = joined([ping.s()] * 100)

    check_length(steps_of(hundred.elements))
    assert decode(encode(begun(hundred)[0])).name == "ping"
    with pytest.raises(ArgumentsError, match="more than 100 jobs follow one another"):
        check_length(steps_of((hundred >> ping.s()).elements))
    with pytest.raises(ArgumentsError, match="more than 100 jobs"):
        check_length(steps_of((group(ping.s()) >> hundred).elements))
    with pytest.raises(ArgumentsError, match="more than 100 jobs"):
        check_length(steps_of(ping.options(on_failure=hundred).s().elements))


@pytest.mark.anyio
async def test_a_workflow_runs_from_its_head_whatever_part_is_enqueued() -> None:
    app = app_of()
    app.include(router)

    async with app:
        whole = await (start.s(1) >> (double.s() >> double.s(factor=5))).enqueue()
        wide = await (start.s(1) >> group(double.s(), double.s(factor=5)) >> total.s()).enqueue()
        several = await group(start.s(1), start.s(2) >> double.s()).enqueue()
        counts = await burst(app)

        assert counts.succeeded == 3 + 4 + 3
        assert await whole.result(5) == 10
        assert await wide.result(5) == 7
        assert [await job.result(5) for job in several] == [1, 4]
        assert [job.name for job in (whole, wide, *several)] == ["double", "total", "start", "double"]


@pytest.mark.anyio
async def test_what_fails_has_its_callback_with_the_error_and_nothing_follows() -> None:
    seen: list[object] = []
    app: App[Any] = app_of()

    @app.task(on_failure="note")
    async def broken(number: int) -> int:
        raise ValueError(f"no {number}")

    @app.task(name="note")
    async def note(error: Trouble) -> None:
        seen.append((error.type, error.message))

    @app.task
    async def after(number: int) -> None:
        seen.append("after")

    @app.task
    async def clean(text: str = "clean") -> None:
        seen.append(text)

    async with app:
        await chain(broken.s(3), after.s(), on_failure=clean).enqueue()
        await burst(app)

    assert sorted(map(str, seen)) == ["('ValueError', 'no 3')", "clean"]


def test_messages_of_a_workflow_are_json_that_others_can_read() -> None:
    [message] = begun(start.s(1) >> group(double.s(), ping.s()) >> total.s())
    body = json.loads(encode(message))

    first, second = body["on_success"]
    assert first["join"]["id"] == second["join"]["id"]
    assert (first["join"]["index"], second["join"].get("index")) == (0, 1)
    assert first["join"]["then"]["name"] == "total"
    assert list(itertools.chain(first, second)).count("takes") == 1
