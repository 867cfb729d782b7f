"""What the broker is told of how a try ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jockey import JobTimeoutError, RegistrationError, WorkerDiedError
from jockey.jobs._broker import Cancelled, Died, Released, Retried, Succeeded
from jockey.jobs._failure import Failure
from jockey.jobs._message import Join, Message, Step, Trouble
from jockey.jobs._retry import Retry, RetryLater, as_retry
from jockey.jobs._settle import after_failure, after_refusal, after_success, death, text_of, trouble_of

NOW = 1000.0


@dataclass
class Declared:
    """As much of a task as matters here."""

    retry: Retry = Retry.never
    on_success: tuple[Step, ...] = ()
    on_failure: tuple[Step, ...] = ()
    ttl: float | None = 60.0

    def ttl_of(self, message: Message) -> float | None:
        return self.ttl


def task(**said: Any) -> Any:
    return Declared(**said)


def message(**said: Any) -> Message:
    return Message(**{"id": "a", "name": "work", **said})


def fail(said: Message, declared: Any, error: Exception | Failure) -> Retried | Died:
    trouble = trouble_of(error, worker="me", now=NOW)
    return after_failure(said, declared, error, trouble, now=NOW, tasks={})


def delays(said: Message, declared: Any, error: Exception) -> list[float]:
    """Fail again and again; return all delays until the job is dead."""
    found: list[float] = []
    while isinstance(settlement := fail(said, declared, error), Retried):
        found.append(settlement.delay)
        said = settlement.message
    assert settlement.message is not None
    assert settlement.message.attempt == len(found) + 1
    return found


def test_success_keeps_the_result_for_its_time() -> None:
    assert after_success(message(), task(), b"1", None, now=NOW, tasks={}) == Succeeded(b"1", 60.0, [])


def test_success_is_followed_by_the_steps_of_the_message_and_of_the_task() -> None:
    said = message(on_success=(Step(name="one", takes=True), Step(name="two", args=(2,))))
    declared = task(on_success=(Step(name="three", queue="other"),))

    settlement = after_success(said, declared, b'{"x":1}', None, now=NOW, tasks={})

    found = [(each.name, each.args, each.queue, each.parent) for each in settlement.successors]
    assert found == [("one", ({"x": 1},), "default", "a"), ("two", (2,), "default", "a"), ("three", (), "other", "a")]


def test_the_same_success_has_the_same_successors() -> None:
    said = message(on_success=(Step(name="one"), Step(name="one")))

    first, second = (after_success(said, task(), b"null", None, now=NOW, tasks={}).successors for _ in range(2))

    assert first == second
    assert first[0].id != first[1].id


def test_success_and_failure_of_a_job_have_different_successors() -> None:
    said = message(on_success=(Step(name="one"),), on_failure=(Step(name="one"),))

    good = after_success(said, task(), b"null", None, now=NOW, tasks={}).successors
    bad = death(said, Trouble(), task(), now=NOW, tasks={}).successors

    assert good[0].id != bad[0].id


def test_the_last_of_a_group_is_followed_by_what_follows_the_group() -> None:
    join = Join(id="group", index=1, count=2, then=Step(name="sum", takes=True))

    one, other = (
        after_success(message(id=id_, join=join), task(), b"2", [b"1", b"2"], now=NOW, tasks={}) for id_ in "ab"
    )
    before = after_success(message(join=join), task(), b"2", None, now=NOW, tasks={})

    assert [(each.name, each.args) for each in one.successors] == [("sum", ([1, 2],))]
    assert one.successors[0].id == other.successors[0].id
    assert before.successors == []


def test_a_failure_is_retried_as_the_task_says() -> None:
    assert delays(message(), task(retry=Retry(max_tries=4, delay=2, mode="linear")), ValueError()) == [2, 4, 6]


def test_the_message_overrules_the_task() -> None:
    said = message(retry=Retry(max_tries=2, delay=7).to_plain())

    assert delays(said, task(retry=Retry(max_tries=9, delay=1)), ValueError()) == [7]


def test_what_is_raised_overrules_both() -> None:
    said = message(retry=Retry(max_tries=2, delay=7).to_plain())
    error = RetryLater(policy=Retry(max_tries=4, delay=3))

    assert delays(said, task(), error) == [3, 3, 3]


def test_a_delay_that_is_raised_overrules_that_of_the_policy_but_not_the_number_of_tries() -> None:
    declared = task(retry=Retry(max_tries=3, delay=100))

    assert delays(message(), declared, RetryLater(delay=0)) == [0, 0]
    assert delays(message(), task(), RetryLater(delay=1)) == []
    assert delays(message(), task(), RetryLater(delay=1, policy=Retry(max_tries=2))) == [1]


def test_only_such_errors_are_retried_as_the_policy_names() -> None:
    declared = task(retry=Retry(max_tries=2, delay=1, on=(KeyError,)))

    assert delays(message(), declared, KeyError()) == [1]
    assert delays(message(), declared, ValueError()) == []


@pytest.mark.parametrize(
    "error", [JobTimeoutError("late"), WorkerDiedError("killed", -9), RetryLater(), Failure("no")], ids=str
)
def test_what_is_no_error_of_the_task_is_retried_whatever_errors_the_policy_names(error: Any) -> None:
    assert delays(message(), task(retry=Retry(max_tries=3, delay=1, on=(KeyError,))), error) == [1, 1]


def test_exhaustion_is_decided_when_the_last_try_fails() -> None:
    settlement = fail(message(attempt=4), task(retry=Retry(max_tries=5, delay=1)), ValueError("boom"))

    assert isinstance(settlement, Died)
    assert (settlement.error.type, settlement.error.message) == ("ValueError", "boom")


def test_failure_callbacks_come_only_when_the_tries_are_exhausted() -> None:
    declared = task(retry=Retry(max_tries=2, delay=1), on_failure=(Step(name="told"),))
    said = message(on_failure=(Step(name="asked", takes=True),))

    first = fail(said, declared, ValueError("boom"))
    assert isinstance(first, Retried)
    last = fail(first.message, declared, ValueError("boom"))

    assert isinstance(last, Died)
    assert [each.name for each in last.successors] == ["asked", "told"]
    assert last.successors[0].args[0]["message"] == "boom"
    assert last.successors[1].args == ()


def test_the_history_travels_with_the_job() -> None:
    said, declared = message(), task(retry=Retry(max_tries=None, delay=0))
    for number in range(12):
        settlement = fail(said, declared, ValueError(number))
        assert isinstance(settlement, Retried)
        said = settlement.message

    assert said.attempt == 12
    assert [trouble.message for trouble in said.troubles] == [str(number) for number in range(2, 12)]
    assert {(trouble.worker, trouble.at) for trouble in said.troubles} == {("me", NOW)}


def test_a_policy_that_makes_no_sense_is_the_end_and_says_so() -> None:
    settlement = fail(message(retry={"mode": "sideways"}), task(), ValueError("boom"))

    assert isinstance(settlement, Died)
    assert settlement.error.message.startswith("boom; and its retry policy makes no sense: mode must be")


def test_failure_callbacks_that_make_no_sense_do_not_keep_a_job_from_dying() -> None:
    said = message(on_failure=(Step(name="told", options={"delay": "soon"}),))

    settlement = death(said, Trouble(message="boom"), None, now=NOW, tasks={})

    assert settlement.successors == ()
    assert settlement.error.message.startswith("boom; and its failure callbacks make no sense: ")


def test_a_traceback_begins_with_the_code_of_the_user() -> None:
    def work() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError) as caught:
        work()
    trouble = trouble_of(caught.value, worker="me", now=NOW)

    assert trouble.type == "ValueError"
    assert "in work" in trouble.traceback
    assert trouble.traceback.endswith("ValueError: boom\n")


def test_frames_of_this_package_are_left_out_unless_there_are_no_others() -> None:
    with pytest.raises(RegistrationError) as caught:
        Retry.of({"mode": "sideways"})
    error, frames = caught.value, caught.tb.tb_next  # without the frame of this test

    assert "_retry.py" in trouble_of(error.with_traceback(frames), worker="me", now=NOW).traceback

    with pytest.raises(RegistrationError) as caught:
        as_retry("sideways")  # type: ignore[arg-type]
    error, frames = caught.value, caught.tb.tb_next

    assert "_retry.py" in trouble_of(error.with_traceback(frames), worker="me", now=NOW).traceback, "all are of ours"


def test_a_returned_failure_has_no_traceback() -> None:
    assert trouble_of(Failure("no money"), worker="me", now=NOW) == Trouble(message="no money", at=NOW, worker="me")


def test_an_error_whose_text_cannot_be_had_is_an_error_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise KeyError("x")

    assert text_of(Mute()) == "<its text cannot be had: KeyError>"
    assert trouble_of(Mute(), worker="me", now=NOW).message == "<its text cannot be had: KeyError>"


def test_long_tracebacks_are_cut_at_their_beginning() -> None:
    trouble = trouble_of(ValueError("x" * 100_000 + " and the end"), worker="me", now=NOW)

    assert len(trouble.traceback) == 16_384
    assert trouble.traceback.endswith("x and the end\n")


def test_work_that_is_done_is_noted_when_what_follows_from_it_is_refused() -> None:
    following = (message(id="b", queue="nowhere"),)
    refusal = LookupError("no queue 'nowhere'")

    settlement = after_refusal(message(), Succeeded(b"[1]", 9.0, following), refusal, Trouble(type="LookupError"))

    assert isinstance(settlement, Died)
    assert settlement.message == message(done=([1],))
    assert settlement.successors == ()
    assert settlement.error.message == (
        "the work is done, but what follows from it was refused: no queue 'nowhere'; mend that, and replay the job"
    )


@pytest.mark.parametrize(("text", "told"), [("boom", "boom"), ("", "no text")])
def test_a_retry_that_is_refused_is_the_end(text: str, told: str) -> None:
    failed = message(attempt=2, troubles=(Trouble(message="before"), Trouble(type="ValueError", message=text)))

    settlement = after_refusal(message(), Retried(failed, 5.0), RuntimeError("no delays"), Trouble())

    error = Trouble(type="ValueError", message=f"{told}; and another try was refused: no delays")
    assert settlement == Died(error, failed)


def test_a_death_that_is_refused_is_tried_without_failure_callbacks_and_then_given_up() -> None:
    first = Died(Trouble(message="boom"), message(), (message(id="b"),))

    second = after_refusal(message(), first, RuntimeError("no queue"), Trouble())
    assert second == Died(Trouble(message="boom; and its failure callbacks were refused: no queue"), message())
    assert after_refusal(message(), second, RuntimeError("no"), Trouble()) == Released()


@pytest.mark.parametrize("settlement", [Cancelled("why"), Died(Trouble()), Succeeded(b"1")], ids=repr)
def test_in_the_end_the_job_is_released(settlement: Any) -> None:
    assert after_refusal(None, settlement, RuntimeError("no"), Trouble()) == Released()
    assert after_refusal(None, Released(), RuntimeError("no"), Trouble()) is None


@given(
    tries=st.integers(1, 30),
    attempt=st.integers(0, 40),
    error=st.sampled_from([ValueError("x"), RetryLater(delay=1), Failure("no"), JobTimeoutError("late")]),
)
def test_a_job_has_no_more_tries_than_its_policy_says(tries: int, attempt: int, error: Any) -> None:
    settlement = fail(message(attempt=attempt), task(retry=Retry(max_tries=tries, delay=1)), error)

    assert isinstance(settlement, Died if attempt + 1 >= tries else Retried)
