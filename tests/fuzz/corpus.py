"""Programs that once broke a law, as small as they could be made."""

from __future__ import annotations

from jockey import WaitFor
from tests.fuzz.program import (
    Cancel,
    CancelTask,
    Consume,
    Drain,
    Execute,
    Handler,
    Job,
    Limit,
    On,
    Pause,
    Program,
    Raise,
    Rate,
    Schedule,
    Settings,
    Sleep,
    Submit,
    Turn,
    Wait,
)

_A = Handler("a")
_JOB = Job(("a",))
_B_IN_GROUP = Job(("b",), group="x")
_STRAY = Raise("stray cancel")

CORPUS = {
    "get_group raises what is no Exception": Program(
        (_A,),
        body=(Schedule(Job(("a",), callbacks=(On("get_group", (Raise("crash"),)),))),),
    ),
    "get_keys raises a stray cancellation": Program(
        (_A,),
        body=(Execute(Job(("a",), callbacks=(On("get_keys", (_STRAY,)),))),),
    ),
    "a callback raises a stray cancellation": Program(
        (_A,),
        body=(Execute(Job(("a",), callbacks=(On("on_success", (_STRAY,)),))),),
    ),
    "the intake is closed while the block goes on": Program(
        (_A,),
        clients=((Sleep(0.5), Execute(_JOB)),),
        body=(Drain(2.0), Execute(_JOB)),
    ),
    "accepted just when all has ended": Program(
        (_A,),
        strangers=(
            (Sleep(1.0), Consume((), 1.0), Schedule(_JOB)),
            (Sleep(0.25), Consume((_JOB,), 0.25), Schedule(_JOB)),
        ),
        body=(Sleep(1.0),),
    ),
    "a job is timed out while it waits for another": Program(
        (Handler("a", job_timeout=0.5), Handler("b")),
        settings=Settings(max_jobs=1),
        body=(Schedule(Job(("a",), (Execute(Job(("b",))),))), Schedule(Job(("b",), (Sleep(1.0),)))),
    ),
    "a handler gives up waiting": Program(
        (_A,),
        settings=Settings(max_jobs=1),
        body=(
            Schedule(Job(("a",), (Execute(Job(("a",), (Sleep(3.0),)), give_up_after=1.0), Sleep(3.0)))),
            Schedule(Job(("a",), (Sleep(3.0),))),
        ),
    ),
    "a callback ends with a native cancellation": Program(
        (_A,),
        settings=Settings(max_jobs=1),
        body=(
            Schedule(Job(("a",), callbacks=(On("on_success", (CancelTask(),)),))),
            Schedule(Job(("a",), (Turn(),))),
            Sleep(1.0),
            Schedule(_JOB),
        ),
    ),
    "cancelled while run() is entered": Program((_A,), ending="native cancel"),
    "a callback of a job that never ran waits for itself": Program(
        (_A,),
        body=(Schedule(Job(("a",), callbacks=(On("on_cancel", (Wait(0),)),))), Cancel(0)),
    ),
    "a pulse is due when its handler returns": Program(
        (Handler("a", pulse_every=0.5),),
        body=tuple(Schedule(Job(("a",), (Sleep(2.0),))) for _ in range(4)),
        settings=Settings(max_jobs=4),
    ),
    "what got room in the backlog never queues": Program(
        (_A,),
        settings=Settings(max_backlog=1),
        clients=((Execute(_JOB),), (Execute(Job(("nobody's",))),), (Execute(_JOB),)),
    ),
    "who takes back a slot is waited for by who has it": Program(
        (_A,),
        settings=Settings(max_jobs=1),
        body=(Schedule(Job(("a",), (Execute(Job(("a",), (Schedule(Job(("a",), (Sleep(1.0), Wait(0)))),))),))),),
    ),
    "a rate has room again while the executor is paused": Program(
        (Handler("a", limits=("rate",)),),
        limits=(Limit("rate", Rate(starts=1, per=1.0, burst=1)),),
        body=(Schedule(_JOB), Schedule(_JOB), Sleep(0.5), Pause(2.0), Sleep(3.0)),
    ),
    "the head of a group is cancelled while it waits": Program(
        (Handler("a", limits=("limit",)), Handler("b")),
        limits=(Limit("limit", 1),),
        body=(
            Schedule(Job(("a",), (Sleep(3.0),))),
            Schedule(Job(("a",), group="x")),
            Schedule(Job(("b",), group="x")),
            Sleep(1.0),
            Cancel(1),
        ),
    ),
    "who gave up a job of a group waits for a slot while the group goes on": Program(
        (_A, Handler("b")),
        settings=Settings(max_jobs=2),
        clients=(
            (
                Execute(Job(("a",), (Sleep(0.0), Execute(_B_IN_GROUP, give_up_after=0.0))), WaitFor.START),
                Execute(_B_IN_GROUP),
            ),
        ),
    ),
    "a handler waits for the last of a group, in the middle of which is one that needs its cap": Program(
        (Handler("a", max_jobs=1), Handler("b")),
        settings=Settings(max_jobs=1),
        body=(
            Schedule(Job(("a",), (Wait(3),))),
            Schedule(_B_IN_GROUP),
            Schedule(Job(("a",), group="x")),
            Schedule(_B_IN_GROUP),
        ),
    ),
    "who has waited long enough gives up nothing": Program(
        (_A, Handler("b", max_jobs=1)),
        settings=Settings(max_jobs=2),
        clients=(
            (
                Submit(Job(("b",), (Sleep(2.0),))),
                Execute(_B_IN_GROUP, WaitFor.NO_PRESSURE, give_up_after=0.0),
                Schedule(Job(("a",), group="x")),
            ),
        ),
    ),
    "a start is waited for by a callback": Program(
        (_A,),
        settings=Settings(max_jobs=1),
        body=(Schedule(Job(("a",), callbacks=(On("on_success", (Execute(_JOB, WaitFor.START),)),))),),
    ),
}
