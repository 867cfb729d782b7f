"""Handlers that run in interpreters of their own, and what they take and return."""

from __future__ import annotations

import threading

calls: list[object] = []
settings: list[object] = []


class Untakeable(Exception):
    """An exception that can be pickled, and not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


class Unsendable(Exception):
    """An exception that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())


class Reluctant:
    """What can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (int, ("not a number",))


def where(_: object) -> int:
    import _interpreters  # type: ignore[import-not-found,unused-ignore]

    number: int = _interpreters.get_current()[0]
    return number


def count_calls(payload: object) -> int:
    calls.append(payload)
    return len(calls)


def repeat(text: str) -> str:
    return 3 * text


def raise_untakeable(_: object) -> None:
    raise Untakeable(1, 2)


def raise_unsendable(_: object) -> None:
    raise Unsendable


def return_lock(_: object) -> object:
    return threading.Lock()


def return_reluctant(_: object) -> object:
    return Reluctant()


def take(_: object) -> None:
    pass


def use(*arguments: object) -> None:
    """Be an initializer."""
    settings.append(arguments)


def refuse() -> None:
    """Be an initializer that fails."""
    raise ValueError("no such place")


def used(_: object) -> list[object]:
    return settings
