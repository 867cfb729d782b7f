"""What a task is told of its job."""

from __future__ import annotations

import logging

import pytest

from jockey.jobs._context import Context
from jockey.jobs._message import Message

JOB = Message(id="welcome:7", name="send", queue="mail", attempt=2)


def context_of(job: Message = JOB, *, is_over: bool = False) -> Context[str]:
    return Context("state", job, is_last_attempt=False, is_over=lambda: is_over)


def test_it_tells_the_state_the_job_and_the_attempt() -> None:
    context = context_of()

    assert (context.state, context.job, context.attempt, context.is_last_attempt) == ("state", JOB, 3, False)


def test_it_tells_that_nobody_waits_for_the_outcome_any_more() -> None:
    assert [context_of(is_over=is_over).cancelled for is_over in (False, True)] == [False, True]


def test_its_logger_is_bound_to_the_job(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        context_of().logger.info("sent to %d of them", 3, extra={"mine": 1})

    record = caplog.records[0]
    assert (record.name, record.getMessage()) == ("jockey.jobs.task", "send[welcome:7] sent to 3 of them")
    found = {name: vars(record)[name] for name in ("job_id", "task", "queue", "attempt", "mine")}
    assert found == {"job_id": "welcome:7", "task": "send", "queue": "mail", "attempt": 3, "mine": 1}


def test_what_is_in_the_name_of_a_job_does_not_break_its_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        context_of(Message(id="50%s", name="sale")).logger.info("at %s", "ten")

    assert caplog.records[0].getMessage() == "sale[50%s] at ten"


def test_its_repr_names_the_job() -> None:
    assert repr(context_of()) == "<Context of send welcome:7, attempt 3>"
