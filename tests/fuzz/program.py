"""The grammar of the programs that the fuzzer runs, as data, and a way to draw one by lot."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from jockey import Priority, WaitFor

ErrorName = Literal["error", "timeout", "crash", "stray cancel", "group", "exit"]
Callback = Literal[
    "get_keys", "get_group", "get_payload", "on_success", "on_failure", "on_cancel", "on_no_handler", "on_pulse"
]


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Turn:
    """Let others run, without time passing."""


@dataclass(frozen=True)
class Linger:
    """Sleep until everything that could end by itself has ended long ago."""


@dataclass(frozen=True)
class Raise:
    error: ErrorName


@dataclass(frozen=True)
class Stubborn:
    """Sleep, and when cancelled, clean up for some time; then go on or pass the cancellation on."""

    seconds: float
    cleanup: float
    swallows: bool


@dataclass(frozen=True)
class CancelTask:
    """On asyncio, cancel the task that runs this, natively; elsewhere nothing."""


@dataclass(frozen=True)
class Child:
    """Do the steps in a child task, and wait for it."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class On:
    """What a callback does."""

    callback: Callback
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Job:
    """A message, its handler's script, and what its callbacks do."""

    keys: tuple[str, ...]
    script: tuple[Step, ...] = ()
    group: str | None = None
    callbacks: tuple[On, ...] = ()
    unhashable: Literal["key", "group"] | None = None


@dataclass(frozen=True)
class Schedule:
    job: Job
    priority: Priority | None = None


@dataclass(frozen=True)
class Submit:
    job: Job


@dataclass(frozen=True)
class Execute:
    job: Job
    wait_for: WaitFor = WaitFor.FINISH
    priority: Priority | None = None
    give_up_after: float | None = None
    natively: bool = False
    """Give up by a native cancellation, on asyncio and outside of handlers; elsewhere by a cancel scope."""


@dataclass(frozen=True)
class Wait:
    number: int
    """Of the jobs so far; counted around."""
    for_result: bool = False
    give_up_after: float | None = None


@dataclass(frozen=True)
class Cancel:
    number: int


@dataclass(frozen=True)
class Consume:
    jobs: tuple[Job, ...]
    pause: float


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Drain:
    timeout: float | None


@dataclass(frozen=True)
class Look:
    """At the statistics."""


Step = (
    Sleep
    | Turn
    | Linger
    | Raise
    | Stubborn
    | CancelTask
    | Child
    | Schedule
    | Submit
    | Execute
    | Wait
    | Cancel
    | Consume
    | Pause
    | Drain
    | Look
)


@dataclass(frozen=True)
class Handler:
    key: str
    is_async: bool = True
    max_jobs: int | None = None
    job_timeout: float | None = None
    pulse_every: float | None = None
    priority: Priority = Priority.NORMAL
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    max_jobs: int | None = 2
    max_jobs_per_group: int = 1
    max_backlog: int | None = None
    drain_timeout: float | None = None
    grace: float = 5.0
    has_middleware: bool = False


@dataclass(frozen=True)
class Rate:
    starts: int
    per: float
    burst: int


@dataclass(frozen=True)
class Limit:
    name: str
    size: int | Rate


Ending = Literal["return", "raise", "crash", "cancel", "native cancel"]


@dataclass(frozen=True)
class Program:
    handlers: tuple[Handler, ...]
    settings: Settings = Settings()
    limits: tuple[Limit, ...] = ()
    clients: tuple[tuple[Step, ...], ...] = ()
    """Tasks inside of the block of `run()`."""
    strangers: tuple[tuple[Step, ...], ...] = ()
    """Tasks outside of it, which may come too late."""
    body: tuple[Step, ...] = ()
    ending: Ending = "return"
    cancel_after: float = 0.0


def draw(seed: int) -> Program:
    """Return the program of *seed*; always the same one."""
    return _Lot(random.Random(seed)).program()


_DURATIONS = (0.0, 0.25, 0.5, 1.0, 1.0, 2.0, 3.0)
_EXIT_ODDS = 0.02

_KINDS: tuple[type[Step], ...] = get_args(Step)

_Makers = dict[type[Step], tuple[int, Callable[[], Step]]]
"""How often each kind of step is to come, and how one is made."""


@dataclass
class _Lot:
    random: random.Random
    keys: list[str] = field(default_factory=list)
    budget: int = 14
    """How many more jobs there may be."""
    unwanted: set[type[Step]] = field(default_factory=set)
    """
    Kinds of steps that this program goes without.

    A program with a bit of everything has too little of each: most bugs need a few kinds of steps, several times.
    """

    def program(self) -> Program:
        odds_against = self.random.choice((0.0, 0.3, 0.6))
        self.unwanted = {kind for kind in _KINDS if self._odds(odds_against)}
        limits = self._limits()
        handlers = tuple(self._handler(key, [limit.name for limit in limits]) for key in "abcd"[: self._up_to(4)])
        self.keys = [handler.key for handler in handlers]
        endings: tuple[Ending, ...] = ("return", "raise", "crash", "cancel", "native cancel")
        return Program(
            handlers=handlers,
            settings=self._settings(),
            limits=limits,
            clients=tuple(self._client() for _ in range(self._up_to(3))),
            strangers=tuple(self._client() for _ in range(self.random.choice((0, 0, 1)))),
            body=self._client(),
            ending=self.random.choices(endings, weights=(12, 2, 1, 3, 3))[0],
            cancel_after=self._duration(),
        )

    def _settings(self) -> Settings:
        pick = self.random.choice
        return Settings(
            max_jobs=pick((1, 1, 2, 2, 3, 5, None)),
            max_jobs_per_group=pick((1, 1, 2)),
            max_backlog=pick((None, None, None, 1, 2, 4)),
            drain_timeout=pick((None, None, None, 0.0, 1.0, 3.0)),
            grace=pick((0.0, 1.0, 5.0)),
            has_middleware=self._odds(0.2),
        )

    def _limits(self) -> tuple[Limit, ...]:
        limits: list[Limit] = []
        if self._odds(0.5):
            limits.append(Limit("limit", self._up_to(2)))
        if self._odds(0.3):
            limits.append(Limit("other", self._up_to(2)))
        if self._odds(0.3):
            limits.append(Limit("rate", Rate(self._up_to(3), float(self._up_to(3)), self._up_to(2))))
        return tuple(limits)

    def _handler(self, key: str, limits: list[str]) -> Handler:
        pick = self.random.choice
        return Handler(
            key,
            is_async=self._odds(0.8),
            max_jobs=pick((None, None, 1, 2)),
            job_timeout=pick((None, None, 0.5, 1.0, 2.0)),
            pulse_every=pick((None, None, 0.3, 0.7)),
            priority=pick(tuple(Priority)),
            limits=tuple(name for name in limits if self._odds(0.4)),
        )

    def _client(self) -> tuple[Step, ...]:
        return tuple(self._client_step() for _ in range(self.random.randrange(6)))

    def _client_step(self) -> Step:
        return self._one_of({
            Schedule: (8, lambda: Schedule(self._job(2), self._priority())),
            Execute: (5, lambda: self._execute(2, in_client=True)),
            Submit: (1, lambda: Submit(self._job(2, is_plain=True))),
            Sleep: (3, lambda: Sleep(self._duration())),
            Turn: (2, Turn),
            Wait: (2, self._wait),
            Cancel: (2, lambda: Cancel(self.random.randrange(10))),
            Consume: (1, lambda: Consume(tuple(self._job(1) for _ in range(self._up_to(3))), self._duration())),
            Pause: (1, lambda: Pause(self._duration())),
            Drain: (1, lambda: Drain(self.random.choice((None, None, 0.0, 1.0, 2.0)))),
            Look: (1, Look),
        })  # fmt: skip

    def _job(self, depth: int, *, is_plain: bool = False) -> Job:
        self.budget -= 1
        keys: tuple[str, ...] = (self.random.choice(self.keys),)
        if is_plain:
            return Job(keys, self._script(depth))
        if self._odds(0.1):
            keys = ("nobody's", *keys) if self._odds(0.5) else ("nobody's",)
        return Job(
            keys,
            script=self._script(depth),
            group=self.random.choice((None, None, "x", "y")),
            callbacks=self._callbacks(depth),
            unhashable=self.random.choice(("key", "group")) if self._odds(0.03) else None,
        )

    def _script(self, depth: int) -> tuple[Step, ...]:
        return tuple(self._script_step(depth) for _ in range(self.random.randrange(4)))

    def _script_step(self, depth: int) -> Step:
        makers: _Makers = {
            Sleep: (8, lambda: Sleep(self._duration())),
            Turn: (4, Turn),
            Raise: (2, lambda: Raise(self._error())),
            Stubborn: (1, lambda: Stubborn(self._duration(), self._duration(), self._odds(0.5))),
            Linger: (1, Linger),
            CancelTask: (1, CancelTask),
            Cancel: (2, lambda: Cancel(self.random.randrange(10))),
            Wait: (4, self._wait),
            Pause: (1, lambda: Pause(self._duration())),
            Look: (1, Look),
            Drain: (1, lambda: Drain(self.random.choice((None, 1.0)))),
        }
        if depth > 0 and self.budget > 0:
            makers |= {
                Schedule: (4, lambda: Schedule(self._job(depth - 1), self._priority())),
                Execute: (4, lambda: self._execute(depth - 1)),
                Submit: (1, lambda: Submit(self._job(depth - 1, is_plain=True))),
                Child: (1, lambda: Child(self._script(depth - 1))),
            }
        return self._one_of(makers)

    def _callbacks(self, depth: int) -> tuple[On, ...]:
        names: tuple[Callback, ...] = (
            "get_keys", "get_group", "get_payload", "on_success", "on_failure", "on_cancel", "on_no_handler", "on_pulse"
        )  # fmt: skip
        return tuple(
            On(name, self._callback(name, depth)) for name in names if self._odds(0.4 if name == "on_pulse" else 0.15)
        )

    def _callback(self, name: Callback, depth: int) -> tuple[Step, ...]:
        is_quick = name in {"get_keys", "get_group"}
        return tuple(self._callback_step(depth, is_quick=is_quick) for _ in range(self._up_to(2)))

    def _callback_step(self, depth: int, *, is_quick: bool) -> Step:
        makers: _Makers = {Raise: (3, lambda: Raise(self._error())), Look: (1, Look)}
        if not is_quick:
            makers |= {
                Sleep: (4, lambda: Sleep(self._duration())),
                Turn: (2, Turn),
                CancelTask: (1, CancelTask),
                Wait: (1, self._wait),
            }
        if depth > 0 and self.budget > 0:
            makers[Schedule] = (2, lambda: Schedule(self._job(depth - 1), self._priority()))
        if depth > 0 and self.budget > 0 and not is_quick:
            makers[Execute] = (1, lambda: self._execute(depth - 1))
        return self._one_of(makers)

    def _execute(self, depth: int, *, in_client: bool = False) -> Execute:
        return Execute(
            self._job(depth),
            wait_for=self.random.choice(tuple(WaitFor)),
            priority=self._priority(),
            give_up_after=self._duration() if self._odds(0.3) else None,
            natively=in_client and self._odds(0.5),
        )

    def _wait(self) -> Wait:
        return Wait(
            self.random.randrange(10),
            for_result=self._odds(0.3),
            give_up_after=self._duration() if self._odds(0.3) else None,
        )

    def _error(self) -> ErrorName:
        if self._odds(_EXIT_ODDS):
            return "exit"
        names: tuple[ErrorName, ...] = ("error", "error", "error", "timeout", "crash", "stray cancel", "group")
        return self.random.choice(names)

    def _priority(self) -> Priority | None:
        priorities: tuple[Priority | None, ...] = (None, None, *Priority)
        return self.random.choice(priorities)

    def _duration(self) -> float:
        return self.random.choice(_DURATIONS)

    def _up_to(self, most: int) -> int:
        return self.random.randint(1, most)

    def _odds(self, odds: float) -> bool:
        return self.random.random() < odds

    def _one_of(self, makers: _Makers) -> Step:
        wanted = {kind: maker for kind, maker in makers.items() if kind not in self.unwanted} or makers
        weights = [weight for weight, _ in wanted.values()]
        return self.random.choices([make for _, make in wanted.values()], weights=weights)[0]()
