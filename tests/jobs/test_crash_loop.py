"""Workers that are killed, stopped and started at random lose no job; and reconciliation finds what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.crash_loop.journal import Line
from tests.jobs.crash_loop.reconciliation import Hurt, reconcile

ROOT = Path(__file__).parents[2]


def lines(*texts: str) -> list[Line]:
    """Return lines from texts such as "done 1 by 7": the job is 1, the process 7, the time its place in the list."""
    parts = [text.split() for text in texts]
    return [Line(what, int(number), int(pid), place) for place, (what, number, _, pid) in enumerate(parts)]


def test_all_is_well_when_each_job_was_done_and_each_duplicate_has_a_reason() -> None:
    confirmed = lines("sent 1 by 1", "sent 2 by 1", "sent 3 by 1")
    effects = lines(
        *("done 1 by 7", "done 1 by 8", "done 2 by 8", "still 0 by 5", "done 3 by 9", "done 3 by 8", "lost 0 by 9")
    )

    balance = reconcile(confirmed, effects, Hurt({7}), set(), max_crashes=3)

    assert balance.is_good()
    assert (balance.confirmed, balance.done, balance.again) == (3, 3, 2)


def test_job_that_was_confirmed_and_neither_done_nor_dead_is_lost() -> None:
    balance = reconcile(lines("sent 1 by 1", "sent 2 by 1"), lines("begun 1 by 7"), Hurt(), {2}, max_crashes=1)

    assert balance.lost == [1]
    assert not balance.is_good()


def test_job_that_two_unhurt_workers_have_done_is_not_explained() -> None:
    balance = reconcile([], lines("done 1 by 7", "done 1 by 8"), Hurt({9}), set(), max_crashes=3)

    assert balance.unexplained == [1]
    assert not balance.is_good()


def test_who_was_killed_while_he_put_a_job_elsewhere_may_have_left_two_of_it() -> None:
    effects = lines("moved 1 by 9", "moved 2 by 8", "done 1 by 7", "done 1 by 7", "done 2 by 7", "done 2 by 7")

    balance = reconcile([], effects, Hurt({9}), set(), max_crashes=3)

    assert balance.unexplained == [2]


def test_lease_that_was_lost_without_a_reason_explains_nothing() -> None:
    effects = [*lines("done 1 by 7", "lost 0 by 7", "done 1 by 8"), Line("still", 0, 7, 1_000.0)]

    balance = reconcile([], effects, Hurt(), set(), max_crashes=3)

    assert balance.unexplained == [1]


def test_restart_of_the_server_explains_what_is_near_it() -> None:
    effects = lines("done 1 by 7", "done 1 by 8")

    assert reconcile([], effects, Hurt(restarts=[5.0]), set(), max_crashes=3).is_good()
    assert not reconcile([], effects, Hurt(restarts=[500.0]), set(), max_crashes=3).is_good()


def test_dead_letter_needs_workers_that_were_hurt() -> None:
    effects = lines("begun 1 by 7", "begun 1 by 8", "begun 1 by 9", "begun 2 by 7", "begun 2 by 8", "begun 2 by 9")

    balance = reconcile([], effects, Hurt({7, 8}), {1, 2, 3}, max_crashes=3)

    assert balance.wrongly_dead == [3]


# Once is enough, for it takes its time: what differs between Pythons is not in here.
if sys.version_info >= (3, 13) and sys.platform == "linux":

    def torment(broker: str) -> str:
        # Who waits that long waits in vain, on the slowest machine too.
        options = ["--broker", broker, "--seconds", "4", "--patience", "240"]
        command = [sys.executable, "-m", "tests.jobs.crash_loop", *options]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(ran.stdout, ran.stderr)
        assert ran.returncode == 0
        return ran.stdout

    @pytest.mark.timeout(900)
    def test_killed_workers_lose_nothing_on_sqlite() -> None:
        assert "lost jobs: none" in torment("sqlite")

    @pytest.mark.timeout(900)
    @pytest.mark.broker
    @pytest.mark.usefixtures("amqp_url")
    def test_killed_workers_lose_nothing_on_rabbitmq() -> None:
        assert "lost jobs: none" in torment("rabbitmq")
