"""Errors tell which item they are about, whatever the item and the error are like."""

from __future__ import annotations

from dataclasses import dataclass

from jockey._parallel._notes import name_item


class Reprless:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class FakeDict:
    """`reprlib` goes by the names of classes."""


FakeDict.__name__ = "dict"


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


def test_note_has_index_and_item() -> None:
    error = ValueError("wrong")

    name_item(error, 7, {"a": 1})

    assert error.__notes__ == ["item 7 of jockey.map: {'a': 1}"]


def test_long_items_are_shortened() -> None:
    error = ValueError("wrong")

    name_item(error, 7, list(range(1000)))

    assert error.__notes__ == ["item 7 of jockey.map: [0, 1, 2, 3, 4, 5, ...]"]


def test_item_without_a_repr_is_named_by_its_class() -> None:
    error = ValueError("wrong")

    name_item(error, 7, Reprless())
    name_item(error, 8, FakeDict())

    first, second = error.__notes__
    assert first.startswith("item 7 of jockey.map: <Reprless")
    assert second.startswith("item 8 of jockey.map: <")


def test_error_that_cannot_be_changed_stays_as_it_is() -> None:
    error = FrozenError(1)

    name_item(error, 7, None)

    assert not hasattr(error, "__notes__")
