"""The three type variables that run through the whole library."""

from __future__ import annotations

from typing import TypeVar

Payload = TypeVar("Payload")
Key = TypeVar("Key")
Result = TypeVar("Result")

# The same for what only takes it in, and for what only gives it out: what takes any number serves for whole ones too.
PayloadIn = TypeVar("PayloadIn", contravariant=True)
PayloadOut = TypeVar("PayloadOut", covariant=True)
KeyOut = TypeVar("KeyOut", covariant=True)
ResultIn = TypeVar("ResultIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)
