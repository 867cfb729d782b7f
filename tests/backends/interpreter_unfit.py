"""A module as many that are written in C: it can be imported in the main interpreter only."""

from __future__ import annotations

from tests.backends.interpreter_handlers import where

if where(None):
    raise ImportError("does not support loading in subinterpreters")


def handle(_: object) -> None:
    """Never get to run."""
