"""One line of jobs, without an executor."""

from __future__ import annotations

import random
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jockey import Priority
from jockey._job import Job, JobState
from jockey._line import Line


def job_number(number: int) -> Job[Any]:
    job: Job[Any] = Job(SimpleNamespace(), "message", copy_context(), 0.0)  # type: ignore[arg-type]
    job.number = number
    return job


def pop_all(line: Line) -> list[int]:
    numbers = []
    while line.first() is not None:
        numbers.append(line.pop().number)
    return numbers


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_jobs_leave_by_number_however_they_joined_and_without_the_dropped(order: list[int], dropped: set[int]) -> None:
    line = Line((), Priority.NORMAL)
    jobs = {number: job_number(number) for number in order}

    for number in order:
        line.join(jobs[number])
    for number in dropped:
        jobs[number].phase = JobState.CANCELLED
        line.drop()

    assert pop_all(line) == sorted(set(order) - dropped)


@given(st.randoms(use_true_random=False))
def test_dropped_jobs_of_both_halves_are_forgotten_before_they_come_to_the_front(chance: random.Random) -> None:
    dropped = set(chance.sample(range(300), 200))
    line = Line((), Priority.NORMAL)
    evens = [job_number(number) for number in range(0, 300, 2)]
    odds = [job_number(number) for number in range(1, 300, 2)]

    for job in (*evens, *odds):
        line.join(job)
    for job in (*evens, *odds):
        if job.number in dropped:
            job.phase = JobState.CANCELLED
            line.drop()

    assert len(list(line)) < 300 - len(dropped) + 130
    assert pop_all(line) == sorted(set(range(300)) - dropped)


def test_an_empty_line_has_no_first_job() -> None:
    assert Line((), Priority.NORMAL).first() is None


def test_a_line_tells_how_many_jobs_wait_and_at_which_priority() -> None:
    line = Line((), Priority.HIGH)

    line.join(job_number(2))
    line.join(job_number(1))

    assert repr(line) == "<line of 2 jobs at HIGH>"
