"""Arguments are checked before anything is queued, and arrive as what the parameters are annotated with."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jockey import RegistrationError
from jockey.jobs import ArgumentsError, Context, DecodeError, Failure, ResultError
from jockey.jobs import _plain as plain_module
from jockey.jobs._arguments import Arguments, Call

if TYPE_CHECKING:
    from somewhere import Unknown


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Address:
    to: str
    since: date
    colours: set[Colour]


class Point(msgspec.Struct):
    x: Annotated[int, msgspec.Meta(ge=0)]
    y: int = 0


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    points: list[int] = pydantic.Field(alias="Points")


class Pair(NamedTuple):
    left: int
    right: str


class Options(TypedDict, total=False):
    loud: bool


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no")


def travel(function: Callable[..., object], *args: object, **kwargs: object) -> Call:
    """Return what arrives, after the way through JSON."""
    arguments = Arguments(function, "task")
    checked = arguments.check(args, kwargs)
    arrived_args, arrived_kwargs = json.loads(msgspec.json.encode((checked.args, checked.kwargs)))
    arrived = arguments.convert(arrived_args, arrived_kwargs)
    assert arrived == checked.call
    return arrived


class Nested(msgspec.Struct, array_like=True):
    inner: Nested | None = None


class Task:
    """What a function of a task with one parameter of any type would be."""

    def __init__(self, annotation: object) -> None:
        def task(value: object) -> None: ...

        task.__annotations__["value"] = annotation
        self.function = task


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 2**80),
        (float, 0.1),
        (str, "é\x00\U0001f600"),
        (bool, True),
        (bytes, b"\x00\xff"),
        (None, None),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (timedelta, timedelta(days=1, microseconds=3)),
        (UUID, UUID(int=3)),
        (Decimal, Decimal("1.10")),
        (Colour, Colour.BLUE),
        (list[Colour], [Colour.RED, Colour.BLUE]),
        (dict[int, list[Decimal]], {1: [Decimal(3)], 2: []}),
        (dict[UUID, Colour], {UUID(int=3): Colour.RED}),
        (tuple[int, ...], (1, 2)),
        (frozenset[int], frozenset({1, 2})),
        (int | str | None, "3"),
        (Address, Address("a@b.c", date(2026, 1, 2), {Colour.RED})),
        (Point, Point(3, y=4)),
        (Pair, Pair(1, "2")),
        (Options, {"loud": True}),
        (Model, Model(at=datetime(2026, 1, 2, tzinfo=UTC), Points=[1])),
        (list[Model] | None, [Model(at=datetime(2026, 1, 2, tzinfo=UTC), Points=[])]),
        (Any, {"a": [1, None, "b"]}),
        (Annotated[str, msgspec.Meta(max_length=3)], "abc"),
    ],
)
def test_a_value_arrives_as_it_was_given(annotation: Any, value: object) -> None:
    assert travel(Task(annotation).function, value) == Call((value,))
    assert type(travel(Task(annotation).function, value=value).kwargs["value"]) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda items: st.lists(items) | st.dictionaries(st.text(), items),
        max_leaves=8,
    )
)
def test_whatever_json_has_arrives_as_it_was_given_or_is_refused(value: object) -> None:
    try:
        arrived = travel(Task(Any).function, value)
    except ArgumentsError:
        # What is no valid text has no place in JSON.
        with pytest.raises(UnicodeEncodeError):
            json.dumps(value, ensure_ascii=False).encode()
    else:
        assert arrived == Call((value,))


def everything(one: int, /, two: str = "2", *more: float, key: bool = False, **rest: Colour) -> None: ...


def test_all_kinds_of_parameters_have_their_arguments() -> None:
    assert travel(everything, 1) == Call((1,))
    assert travel(everything, 1, "b", 3.0, 4, key=True, one=Colour.RED) == Call(
        (1, "b", 3.0, 4.0), {"key": True, "one": Colour.RED}
    )
    assert travel(everything, 1, two="b", red=Colour.RED) == Call((1,), {"two": "b", "red": Colour.RED})


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "the arguments do not fit the task 'task', which takes .*: missing a required .*argument: 'one'"),
        (
            (1,),
            {"two": "a", "key": 3},
            "the argument 'key' of task 'task' does not fit: Expected `bool`, got `int`; the value is 3",
        ),
        (("a",), {}, "the argument 'one' of task 'task' does not fit: Expected `int`, got `str`; the value is 'a'"),
        ((1, "a", "b"), {}, "the argument 'more' of task 'task' does not fit: Expected `float`"),
        ((1, "a"), {"two": "b"}, "multiple values for argument 'two'"),
        ((1,), {"colour": "green"}, "the argument 'rest' of task 'task' does not fit: Invalid enum value 'green'"),
        ((1, "x" * 200_000 + "y"), {"key": "x" * 200}, "Expected `bool`, got `str`; the value is 'xxx.{0,80}xxx'$"),
    ],
)
def test_what_does_not_fit_is_refused_by_task_parameter_and_value(
    args: tuple[object, ...], kwargs: dict[str, object], words: str
) -> None:
    arguments = Arguments(everything, "task")

    with pytest.raises(ArgumentsError, match=words):
        arguments.check(args, kwargs)
    with pytest.raises(ArgumentsError, match=words):
        arguments.convert(args, kwargs)


def no_keywords(one: int) -> None: ...


def test_too_many_and_unknown_arguments_are_refused() -> None:
    with pytest.raises(ArgumentsError, match=r"too many positional arguments; it was given \(1, 'x{37}\.\.\.x{38}'\)"):
        travel(no_keywords, 1, "x" * 200)
    with pytest.raises(
        ArgumentsError,
        match=r"takes \(one: int\): got an unexpected keyword argument 'two'; it was given \(1, two='x'\)",
    ):
        travel(no_keywords, 1, two="x")


def test_what_is_not_known_yet_is_not_among_what_was_given() -> None:
    with pytest.raises(ArgumentsError, match=r"takes .*: too many positional arguments; it was given \(2\)$"):
        Arguments(no_keywords, "task").check((2,), {}, skipped=1)


def test_annotations_that_are_no_texts_are_shown_like_others() -> None:
    def task(one: int, two: list[str]) -> None: ...

    task.__annotations__ = {"one": int, "two": list[str]}

    with pytest.raises(ArgumentsError, match=r"takes \(one: int, two: list\[str\]\): missing"):
        travel(task)


@pytest.mark.parametrize(
    ("annotation", "value", "kind"),
    [
        (str, b"a", "bytes"),
        (str, bytearray(b"a"), "bytes"),
        (str, memoryview(b"a"), "bytes"),
        (str | None, datetime(2026, 1, 2, tzinfo=UTC), "datetime"),
        (str, date(2026, 1, 2), "date"),
        (str, time(1, 2), "time"),
        (str, timedelta(days=1), "duration"),
        (str, Decimal(1), "decimal"),
        (list[str], [UUID(int=3)], "uuid"),
        (dict[str, str], {"a": b"b"}, "bytes"),
    ],
)
def test_what_json_writes_as_a_text_is_refused_where_a_text_is_due(annotation: Any, value: object, kind: str) -> None:
    with pytest.raises(ArgumentsError, match=f"'value' of task 'task' does not fit: Expected .*, got `{kind}`"):
        Arguments(Task(annotation).function, "task").check((value,), {})


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (datetime, "2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        (list[UUID], [str(UUID(int=3))], [UUID(int=3)]),
        (bytes, "YQ==", b"a"),
        (Address, {"to": "a", "since": "2026-01-02", "colours": []}, Address("a", date(2026, 1, 2), set())),
    ],
)
def test_a_text_is_fine_where_json_has_one(annotation: Any, text: object, value: object) -> None:
    assert travel(Task(annotation).function, text) == Call((value,))


def test_keys_that_are_no_texts_are_what_their_json_is() -> None:
    assert travel(Task(dict[str, int]).function, {UUID(int=3): 1}) == Call(({str(UUID(int=3)): 1},))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "JSON has no nan; the value is nan"),
        ({"a": [float("-inf")]}, "JSON has no -inf"),
        pytest.param("\ud800", "it is no valid text", id="surrogate"),
        pytest.param({"\ud800": 1}, "it is no valid text", id="surrogate key"),
        (object(), "it cannot be written as JSON: there is no JSON for object"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: object, words: str) -> None:
    with pytest.raises(ArgumentsError, match=f"the argument 'value' of task 'task' does not fit: {words}"):
        travel(Task(Any).function, value)


def test_a_value_that_cannot_even_be_shown_is_refused() -> None:
    with pytest.raises(ArgumentsError, match="there is no JSON for Hostile; the value is <Hostile instance"):
        travel(Task(Any).function, Hostile())


@pytest.mark.parametrize("depth", [101, 100_000])
def test_what_is_too_deep_is_refused(depth: int) -> None:
    value = functools.reduce(lambda inner, _: [inner], range(depth), [])

    with pytest.raises(ArgumentsError, match="it is nested more than 100 deep"):
        travel(Task(Any).function, value)


def test_what_arrives_too_deep_is_refused() -> None:
    value = functools.reduce(lambda inner, _: [inner], range(100_000), [])

    with pytest.raises(ArgumentsError, match="does not fit: it is nested more than 100 deep"):
        Arguments(Task(Nested).function, "task").convert((value,), {})


def test_what_is_as_deep_as_it_may_be_is_not_refused() -> None:
    value = functools.reduce(lambda inner, _: [inner], range(100), 1)

    assert travel(Task(Any).function, value) == Call((value,))


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (Model, 3, "Input should be an object"),
        (Point, {"x": -1}, "Expected `int` >= 0"),
        (complex, "1j", "there is no JSON for complex"),
    ],
)
def test_what_arrives_and_does_not_fit_is_refused(annotation: Any, value: object, words: str) -> None:
    with pytest.raises(ArgumentsError, match=words):
        Arguments(Task(annotation).function, "task").convert((value,), {})


def test_a_value_of_one_type_cannot_be_used_where_another_is_due() -> None:
    class Loop:
        pass

    def broken(loop: Loop) -> None: ...

    arguments = Arguments(broken, "task")

    with pytest.raises(RegistrationError, match="the annotation 'Loop' of 'loop' of the task 'task' cannot be evaluat"):
        arguments.check((1,), {})


def with_unknown(one: Unknown) -> Unknown: ...


def test_an_annotation_for_type_checkers_alone_is_refused_for_arguments_and_ignored_for_results() -> None:
    arguments = Arguments(with_unknown, "task")

    with pytest.raises(RegistrationError, match="'Unknown' of 'one'.* must be imported at run time"):
        arguments.check((1,), {})
    assert arguments.decode_result({"a": 1}) == {"a": 1}


def bare(one, two=None): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - just that


def test_what_is_not_annotated_arrives_as_json_has_it() -> None:
    assert travel(bare, {"a": 1}, two=[1]) == Call(({"a": 1},), {"two": [1]})


def with_context(context: Context[int], one: int) -> None: ...


def with_bare_context(context: Context, /) -> None: ...


def with_late_context(one: int, context: Context) -> None: ...


def without_parameters() -> None: ...


def only_keywords(*, context: Context) -> None: ...


def test_a_context_comes_first_and_is_no_argument() -> None:
    assert Arguments(with_context, "task").wants_context
    assert list(Arguments(with_context, "task").signature.parameters) == ["one"]
    assert Arguments(with_bare_context, "task").wants_context
    for function in (with_late_context, without_parameters, only_keywords, everything):
        assert not Arguments(function, "task").wants_context
    assert travel(with_context, 1) == Call((1,))


def test_arguments_are_complete_when_the_function_can_be_called() -> None:
    arguments = Arguments(with_context, "task")

    assert arguments.is_complete((1,), {})
    assert arguments.is_complete((), {"one": "whatever"})
    assert not arguments.is_complete((), {})
    assert not arguments.is_complete((1, 2), {})


def needy(one: int, /, two: int, three: int = 3, *, four: int, five: int = 5) -> None: ...


@given(
    st.sampled_from([everything, no_keywords, needy, without_parameters]),
    st.integers(0, 4),
    st.frozensets(st.sampled_from(["one", "two", "three", "four", "five", "key", "other"])),
)
def test_arguments_are_complete_just_when_python_says_so(
    function: Callable[..., object], count: int, names: frozenset[str]
) -> None:
    args, kwargs = (1,) * count, dict.fromkeys(names, 1)
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        can_be_called = False
    else:
        can_be_called = True

    assert Arguments(function, "task").is_complete(args, kwargs) is can_be_called


def test_a_first_argument_that_is_not_known_yet_is_not_looked_at() -> None:
    arguments = Arguments(everything, "task")

    assert arguments.check(("b", 3), {}, skipped=1).args == ("b", 3)
    with pytest.raises(ArgumentsError, match="the argument 'two'"):
        arguments.check((3,), {}, skipped=1)


def test_the_signature_of_what_is_wrapped_counts() -> None:
    @functools.wraps(with_context)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    assert list(Arguments(wrapper, "task").signature.parameters) == ["one"]
    with pytest.raises(ArgumentsError, match="Expected `int`"):
        Arguments(wrapper, "task").check(("a",), {})


def keyed(a: int, b: Decimal = Decimal(3), **rest: Any) -> None: ...


def test_equal_arguments_have_equal_keys() -> None:
    arguments = Arguments(keyed, "task")

    def key(*args: object, names: list[str] | None = None, **kwargs: object) -> str:
        return arguments.key_of(arguments.check(args, kwargs).call, names)

    assert key(1) == key(a=1) == key(1, Decimal(3)) == key(1, b=3)
    assert key(1) != key(2)
    assert key(1) != key(1, c="c")
    assert key(1, c="c", d="d") == key(1, d="d", c="c")
    assert key(1, 4, names=["a"]) == key(1, 5, names=["a"]) == '{"a":1}'


def keyed_by_set(letters: set[str]) -> None: ...


def test_the_order_of_what_has_none_is_not_in_a_key() -> None:
    arguments = Arguments(keyed_by_set, "task")

    assert arguments.key_of(Call(({"c", "a", "b"},)), None) == '{"letters":["a","b","c"]}'


def unkeyed(a: int, b: object = object()) -> None: ...


def test_a_default_that_makes_no_key_is_told() -> None:
    with pytest.raises(ArgumentsError, match="no key can be made of the arguments of 'task'"):
        Arguments(unkeyed, "task").key_of(Call((1,)), None)


def returns(annotation: object) -> Arguments:
    def function() -> None: ...

    if annotation is not None:
        function.__annotations__["return"] = annotation
    return Arguments(function, "task")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (None, None),
        (int | Failure, 3),
        (Point | None | Failure, Point(3)),
        ("Address", Address("a", date(2026, 1, 2), set())),
        (list[Model], []),
    ],
)
def test_a_result_arrives_as_it_was_returned(annotation: object, value: object) -> None:
    arguments = returns(annotation)

    assert arguments.decode_result(json.loads(arguments.encode_result(value))) == value


def test_a_result_that_nothing_is_known_of_is_as_json_has_it() -> None:
    arguments = returns(None)
    del arguments._function.__annotations__["return"]

    assert arguments.decode_result([1]) == [1]
    assert returns(Failure).decode_result(None) is None


def test_a_result_that_has_no_place_in_json_is_refused() -> None:
    with pytest.raises(
        ResultError, match="the result of task 'task' cannot be kept: JSON has no nan; the value is nan"
    ):
        returns(float).encode_result(float("nan"))


def test_a_result_of_another_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="this is no result of task 'task': Expected `int`, got `str`; it is 'a'"):
        returns(int).decode_result("a")
    deep = functools.reduce(lambda inner, _: [inner], range(100_000), [])
    with pytest.raises(DecodeError, match="it is nested more than 100 deep"):
        returns(Nested).decode_result(deep)


def test_pydantic_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(plain_module.sys.modules, "pydantic")

    assert travel(everything, 1) == Call((1,))
    with pytest.raises(ArgumentsError, match="there is no JSON for Model"):
        travel(Task(Any).function, Model(at=datetime(2026, 1, 2, tzinfo=UTC), Points=[]))


@pytest.mark.parametrize("annotation", [Any, list, list[list[int]]])
def test_what_a_task_does_to_its_arguments_is_not_done_to_the_message(annotation: Any) -> None:
    arguments = Arguments(Task(annotation).function, "task")
    travelled = ([[1], [2]],)

    call = arguments.convert(travelled, {})
    call.args[0][0].append(3)
    call.args[0].clear()

    assert travelled == ([[1], [2]],)


@pytest.mark.parametrize("value", [5, True, None, "text", "sch\u00f6n", 1.5], ids=ascii)
def test_what_is_exact_travels_as_it_is(value: object) -> None:
    arguments = Arguments(Task(type(value)).function, "task")

    for _ in range(2):
        assert arguments.is_exact((value,), {}) == (value != "sch\u00f6n")
        assert arguments.convert(arguments.check((value,), {}).args, {}) == Call((value,))


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_what_is_of_another_type_is_not_exact(value: object) -> None:
    assert not Arguments(Task(int).function, "task").is_exact((value,), {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", [1], {}], ids=ascii)
def test_what_json_does_not_have_as_it_is_is_not_exact(value: object) -> None:
    assert not Arguments(Task(Any).function, "task").is_exact((value,), {})


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    __slots__ = ()


ANNOTATIONS: list[Any] = [
    Any,
    int,
    float,
    bool,
    str,
    None,
    object,
    list,
    int | None,
    int | str,
    float | int,
    Literal[1, "a"],
    Level,
    NewType("Number", int),
    Annotated[int, msgspec.Meta(ge=0)],
    Annotated[str, msgspec.Meta(max_length=1)],
    Annotated[float, "a note"],
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64, -(2**80)]),
    st.floats(),
    st.text(max_size=2),
    st.sampled_from([Level.LOW, Name("a"), Name("\u00e4"), "\ud800", "a\x00", [1], {"a": math.nan}]),
)


def outcome(arguments: Arguments, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    try:
        checked = arguments.check(args, kwargs)
        body = msgspec.json.encode([checked.args, checked.kwargs])
        arrived = arguments.convert(*msgspec.json.decode(body))
    except ArgumentsError as error:
        return str(error)
    return body, repr(checked.call), repr(arrived)


@given(st.sampled_from(ANNOTATIONS), st.lists(VALUES, min_size=1, max_size=3), VALUES, st.booleans())
def test_what_is_found_exact_is_what_a_closer_look_finds(
    annotation: Any,
    firsts: list[object],
    second: object,
    by_name: bool,  # noqa: FBT001 - drawn
) -> None:
    class Thorough(Arguments):
        def is_exact(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
            return False

    def function(first: Any, second: Any = 0, /, third: Any = None) -> None: ...

    function.__annotations__.update(first=annotation, second=annotation, third=annotation)
    quick, thorough = Arguments(function, "task"), Thorough(function, "task")

    for first in firsts:  # some of the same types: what was found of the first ones is known of the others
        args, kwargs = ((first,), {"third": second}) if by_name else ((first, second), {})
        assert outcome(quick, args, kwargs) == outcome(thorough, args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1,), {"first": 2}), ((1, 2, 3), {}), ((), {"first": 1, "other": 2})]
)
def test_exact_types_do_not_hide_that_arguments_do_not_fit(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    def function(first: int, second: int = 0) -> None: ...

    arguments = Arguments(function, "task")
    assert arguments.is_exact((1, 2), {})
    assert arguments.is_exact((), {"first": 1, "second": 2})

    assert not arguments.is_exact(args, kwargs)
    with pytest.raises(ArgumentsError):
        arguments.check(args, kwargs)
