"""What a task's signature says: arguments are checked before anything is queued, and converted when they arrive."""

from __future__ import annotations

import functools
import inspect
import math
import sys
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from jockey._errors import RegistrationError
from jockey.jobs._context import Context
from jockey.jobs._errors import ArgumentsError, DecodeError, ResultError
from jockey.jobs._failure import Failure
from jockey.jobs._plain import (
    PLAIN,
    UnfitError,
    are_short,
    check_kinds,
    copied,
    from_plain,
    is_short,
    shown,
    to_json,
    to_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Look = Callable[[Iterable[object]], bool] | Literal[True]

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SIMPLE = PLAIN | {str, float}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Call(msgspec.Struct, frozen=True):
    """Arguments, converted: what the function of a task is called with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Checked:
    """Arguments as they travel, and as they will arrive."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    call: Call


class Arguments:
    """
    The parameters of one task, and what it returns; annotations are evaluated when they are first needed.

    Args:
        function: The task's.
        task: Its name, for messages.
    """

    def __init__(self, function: Callable[..., object], task: str) -> None:
        self._function = function
        self._task = task
        self._looks: dict[object, Look] = {}  # types of arguments that fit: what remains to be seen

    @functools.cached_property
    def wants_context(self) -> bool:
        """Whether the first parameter is a `Context`, which no producer gives."""
        first = next(iter(self._all), None)
        if first is None or first.kind not in _POSITIONAL:
            return False
        annotation = self._evaluate(first.annotation, first.name)
        return annotation is Context or typing.get_origin(annotation) is Context

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """What producers give."""
        return inspect.Signature(self._all[1:] if self.wants_context else self._all)

    def is_complete(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        """Tell whether these are arguments for a call, none too few and none too many."""
        try:
            self._bind(args, kwargs)
        except ArgumentsError:
            return False
        return True

    def is_exact(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        """
        Tell whether these fit, travel and arrive as they are.

        They do if the type of each is what its parameter is annotated with, if anything, and JSON has it; and nobody
        can change them. That goes for most calls, and is found out quickly. False may mean anything.
        """
        look = self._look_for(args, kwargs)
        if look is None:
            return False
        return look is True or (look(args) and (not kwargs or look(kwargs.values())))

    def _look_for(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Look | None:
        """Return what tells whether the values travel; None if their types are not just those of the parameters."""
        kinds: object
        if kwargs:
            kinds = (*map(type, args), *((name, type(value)) for name, value in kwargs.items()))
        else:
            kinds = type(args[0]) if len(args) == 1 else tuple(map(type, args))
        look = self._looks.get(kinds)
        if look is None and self._have_exact_types(args, kwargs):
            look = self._looks[kinds] = _look_at({*map(type, args), *map(type, kwargs.values())})
        return look

    def _have_exact_types(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        if not self._fits(len(args), kwargs):
            return False
        names, values = (*self._positional[: len(args)], *kwargs), (*args, *kwargs.values())
        return all(
            type(value) in _SIMPLE and (self._types[name] is type(value) or self._types[name] is Any)
            for name, value in zip(names, values, strict=True)
        )

    def check(self, args: Sequence[object], kwargs: Mapping[str, object], *, skipped: int = 0) -> Checked:
        """
        Check the arguments, by what will be done with them when they arrive.

        Args:
            args: Positional ones.
            kwargs: Named ones.
            skipped: How many positional arguments stand before them that are not known yet.

        Raises:
            ArgumentsError: They do not fit.
        """
        if not skipped and self.is_exact(args, kwargs):
            args, kwargs = tuple(args), dict(kwargs)
            return Checked(args, kwargs, Call(args, kwargs))
        self._bind(args, kwargs, skipped=skipped)
        places = self._places(skipped, len(args))
        plain_args = tuple(self._plain(place, value) for place, value in zip(places, args, strict=True))
        plain_kwargs = {name: self._plain(self._named(name), value) for name, value in kwargs.items()}
        # What the producer has at hand is what is shown if it does not fit, not what became of it.
        call = Call(
            tuple(map(self._given, places, plain_args, args)),
            {name: self._given(self._named(name), plain, kwargs[name]) for name, plain in plain_kwargs.items()},
        )
        return Checked(plain_args, plain_kwargs, call)

    def convert(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Call:  # whatever JSON can hold
        """
        Return what has arrived, converted to what the parameters are annotated with.

        Raises:
            ArgumentsError: It does not fit.
        """
        if self._look_for(args, kwargs) is not None:  # the values have travelled already
            return Call(tuple(args), kwargs)
        self._bind(args, kwargs)
        return Call(
            tuple(map(self._arrived, self._places(0, len(args)), args)),
            {name: self._arrived(self._named(name), value) for name, value in kwargs.items()},
        )

    def key_of(self, call: Call, names: Sequence[str] | None) -> str:
        """Return a text that is equal for equal arguments; with *names*, of these parameters only."""
        bound = self.signature.bind(*call.args, **call.kwargs)
        bound.apply_defaults()
        chosen = bound.arguments if names is None else {name: bound.arguments[name] for name in names}
        try:
            return msgspec.json.encode(to_plain(chosen, order="deterministic")).decode()
        except UnfitError as error:
            raise ArgumentsError(f"no key can be made of the arguments of {self._task!r}: {error}") from error

    def encode_result(self, value: object) -> bytes:
        """
        Return what the task has returned, as JSON.

        Raises:
            ResultError: JSON has nothing for it.
        """
        try:
            return to_json(value)
        except UnfitError as error:
            raise ResultError(
                f"the result of task {self._task!r} cannot be kept: {error}; the value is {shown(value)}"
            ) from error

    def decode_result(self, plain: object) -> Any:  # its caller knows the type
        """
        Return a result, converted to what the task is annotated to return; as it is if that cannot be told.

        Raises:
            DecodeError: It is something else.
        """
        try:
            return from_plain(plain, self._returned)
        except UnfitError as error:
            raise DecodeError(f"this is no result of task {self._task!r}: {error}; it is {shown(plain)}") from error

    @functools.cached_property
    def _returned(self) -> Any:  # any type form
        annotation = inspect.signature(self._function).return_annotation
        if annotation is inspect.Signature.empty:
            return Any
        try:
            evaluated = self._evaluate(annotation, "return")
        except RegistrationError:
            # Often imported for type checkers alone. The task runs without it, and so should its producers.
            return Any
        return _without_failure(evaluated)

    @functools.cached_property
    def _all(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self._function).parameters.values())

    @functools.cached_property
    def _types(self) -> dict[str, Any]:  # any type forms
        return {
            parameter.name: self._evaluate(parameter.annotation, parameter.name)
            for parameter in self.signature.parameters.values()
        }

    @functools.cached_property
    def _positional(self) -> list[str]:
        return [name for name, parameter in self.signature.parameters.items() if parameter.kind in _POSITIONAL]

    @functools.cached_property
    def _by_name(self) -> dict[str, inspect.Parameter]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {name: parameter for name, parameter in self.signature.parameters.items() if parameter.kind in kinds}

    def _variable(self, kind: object) -> str:
        return next(name for name, parameter in self.signature.parameters.items() if parameter.kind is kind)

    def _places(self, start: int, count: int) -> list[str]:
        names = self._positional[start : start + count]
        if len(names) == count:
            return names
        return names + [self._variable(inspect.Parameter.VAR_POSITIONAL)] * (count - len(names))

    def _named(self, name: str) -> str:
        return name if name in self._by_name else self._variable(inspect.Parameter.VAR_KEYWORD)

    @functools.cached_property
    def _required(self) -> list[tuple[int, str]]:
        """The parameters without a default, and how many positional arguments come before each."""
        return [
            (sys.maxsize if parameter.kind is inspect.Parameter.KEYWORD_ONLY else place, parameter.name)
            for place, parameter in enumerate(self.signature.parameters.values())
            if parameter.default is inspect.Parameter.empty and parameter.kind not in _VARIABLE
        ]

    def _fits(self, count: int, kwargs: Mapping[str, object]) -> bool:
        """Tell whether the arguments are those of a call for sure; False: it takes a closer look to know."""
        names = self._positional
        if count > len(names):
            return False
        for name in kwargs:
            if name not in self._by_name or name in names[:count]:
                return False
        return all(place < count or name in kwargs for place, name in self._required)

    def _bind(self, args: Sequence[object], kwargs: Mapping[str, object], *, skipped: int = 0) -> None:
        if self._fits(skipped + len(args), kwargs):
            return
        # Slower by far, but it knows all cases, and what to say.
        try:
            self.signature.bind(*(None,) * skipped, *args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(
                f"the arguments do not fit the task {self._task!r}, which takes {_bare(self.signature)}: {error}; "
                f"it was given {_listed(args, kwargs)}"
            ) from None

    def _plain(self, name: str, value: object) -> Any:  # what JSON can hold
        if _is_plain(value):
            return value
        try:
            return to_plain(value)
        except UnfitError as error:
            raise self._misfit(name, value, error) from error

    def _converted(self, name: str, plain: object, value: object) -> Any:  # the parameter's type
        type_ = self._types[name]
        if type(plain) is type_ and (type_ is str or type_ in PLAIN):
            return plain
        try:
            return from_plain(plain, type_)
        except UnfitError as error:
            raise self._misfit(name, value, error) from error

    def _given(self, name: str, plain: object, value: object) -> Any:  # the parameter's type
        if type(value) not in _SIMPLE:
            try:
                check_kinds(value, self._types[name])
            except UnfitError as error:
                raise self._misfit(name, value, error) from error
        return self._converted(name, plain, value)

    def _arrived(self, name: str, value: object) -> Any:  # the parameter's type
        try:
            own = copied(value)  # the task may change what it gets, and the next try gets what is in the message
        except UnfitError as error:
            raise self._misfit(name, value, error) from error
        return self._converted(name, own, value)

    def _misfit(self, name: str, value: object, error: UnfitError) -> ArgumentsError:
        return ArgumentsError(
            f"the argument {name!r} of task {self._task!r} does not fit: {error}; the value is {shown(value)}"
        )

    def _evaluate(self, annotation: object, name: str) -> Any:  # any type form
        if annotation is inspect.Parameter.empty:
            return Any
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        scope = getattr(inspect.unwrap(self._function), "__globals__", {})
        try:
            return typing.get_type_hints(holder, scope, include_extras=True)[name]
        except Exception as error:  # an annotation can be any code
            raise RegistrationError(
                f"the annotation {annotation!r} of {name!r} of the task {self._task!r} cannot be evaluated: {error}; "
                "what it names must be imported at run time, at the top level of the module"
            ) from error


def _look_at(types: set[type]) -> Look:
    """Return the quickest look that tells whether values of these types travel; True if all of them do."""
    if types <= {bool, type(None)}:
        return True
    return cast("Look", are_short) if types == {int} else _are_plain


def _are_plain(values: Iterable[object]) -> bool:
    return all(map(_is_plain, values))


def _is_plain(value: object) -> bool:
    """Tell whether JSON has *value* as it is, as far as that is to be seen at once."""
    if type(value) is str:
        return value.isascii()
    if type(value) is int:
        return is_short(value)
    if type(value) is float:
        return math.isfinite(value)
    return type(value) in PLAIN


class _Annotation(str):
    """One that is not evaluated, shown as it was written, and not in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _bare(signature: inspect.Signature) -> inspect.Signature:
    return signature.replace(
        parameters=[
            parameter.replace(annotation=_Annotation(parameter.annotation))
            if isinstance(parameter.annotation, str)
            else parameter
            for parameter in signature.parameters.values()
        ]
    )


def _listed(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    given = [*map(shown, args), *(f"{name}={shown(value)}" for name, value in kwargs.items())]
    return f"({', '.join(given)})"


def _without_failure(annotation: Any) -> Any:  # any type form
    is_union = typing.get_origin(annotation) in {typing.Union, types.UnionType}
    parts = typing.get_args(annotation) if is_union else (annotation,)
    kept = tuple(part for part in parts if part is not Failure)
    return cast("Any", typing.Union)[kept] if kept else Any
