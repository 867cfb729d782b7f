"""From a job to the request that a worker gets, and from its response to what the job ends in."""

from __future__ import annotations

import contextlib
import pickle
import types
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from jockey._backends import _frames, _parcels
from jockey._backends._batch import Failed, NotStartedError
from jockey._backends._channel import Request, Response
from jockey._backends._parcels import Parcel
from jockey._backends._parts import Blame
from jockey._errors import HandlerCrashedError, InitializerError, TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[[Any], object]
    Opened = tuple[Any, Exception | None]

Arguments = TypeVarTuple("Arguments")
Made = TypeVar("Made")

_MAX_THREADS = 4


class RemoteTraceback(Exception):  # noqa: N818 - not an error, but where one comes from
    """Where in the worker process an exception was raised, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Transfer:
    """
    Pickles and unpickles; what is big, in a thread.

    The pickle of a big payload may therefore be made while the event loop runs on: who changes a payload after having
    scheduled it sends a mixture.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_MAX_THREADS)
        self._references: dict[Function, bytes] = {}

    def reference_to(self, function: Function) -> bytes:
        """
        Return what a worker finds *function* by.

        Raises:
            TransferError: There is no such thing.
        """
        reference = self._references.get(function) if isinstance(function, types.FunctionType) else None
        if reference is not None:
            return reference
        try:
            reference = pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
        except Exception as exc:
            raise TransferError(
                f"{name_of(function)!r} cannot be pickled for a worker process: {exc!r}; "
                "it must be importable from the top level of its module under its own name"
            ) from exc
        if isinstance(function, types.FunctionType):
            self._references[function] = reference
        return reference

    async def request(self, kind: int, function: Function, payload: Any) -> Request:
        """
        Return the request to call *function* with *payload*, or if *kind* is that of a batch, with each of its items.

        Raises:
            TransferError: One of them cannot be pickled.
        """
        reference = self.reference_to(function)
        try:
            layout, pieces, blocks = await self._packed(payload)
        except Exception as exc:
            single = payload[0] if kind == _frames.BATCH else payload
            raise TransferError(
                f"a payload of type {_type_name(single)} cannot be pickled for the worker process of"
                f" {name_of(function)!r}: {exc!r}; give the handler plain data, or run it in a thread"
            ) from exc
        size = _frames.length(pieces)
        header = _frames.REQUEST.pack(kind, len(reference), len(layout), size) + reference + layout
        return Request([header, *pieces], len(header) + size, blocks)

    async def _packed(self, thing: object) -> Parcel:
        # A long string is copied before the limit is looked at.
        if not (isinstance(thing, str) and len(thing) > _parcels.BIG):
            with contextlib.suppress(_parcels.TooBigError):
                made = _parcels.pickled(thing, allowed=_parcels.BIG)
                if not made.buffers:
                    return Parcel(b"", made.pieces, [])
                return await self._in_thread(_parcels.packed, made)
        return await self._in_thread(_pickled_and_packed, thing)

    async def ending(self, function: Function, response: Response) -> object:
        """
        Return the result that the response holds, or raise what it says instead.

        Raises:
            TransferError: Something could not be pickled or unpickled, on whichever side.
            HandlerCrashedError: The handler raised what is no `Exception`.
            InitializerError: The initializer raised.
            Exception: The handler raised it.
        """
        result, error = await self._opened(_ending, name_of(function), response)
        if error is not None:
            raise error
        return result

    async def outcomes(self, function: Function, response: Response) -> list[Any] | Blame:
        """
        Return the outcomes of the batch that the response holds, or why there are none.

        Raises:
            TransferError: The worker could not find the function, or could not start.
            InitializerError: The initializer raised.
        """
        outcomes: list[Any] | Blame
        outcomes, error = await self._opened(_outcomes, name_of(function), response)
        if error is not None:
            raise error
        return outcomes

    async def _opened(self, open_: Callable[[str, Response], Opened], name: str, response: Response) -> Opened:
        try:
            if response.size <= _parcels.BIG and not response.layout_size:
                return open_(name, response)
            return await self._in_thread(open_, name, response)
        finally:
            response.close()

    async def _in_thread(self, function: Callable[[*Arguments], Made], *arguments: *Arguments) -> Made:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


def _pickled_and_packed(thing: object) -> Parcel:
    return _parcels.packed(_parcels.pickled(thing))


def _ending(name: str, response: Response) -> tuple[Any, Exception | None]:
    try:
        thing = _unpickled(response)
    except Exception as exc:
        return None, _refused_here(name, exc)
    return (thing, None) if response.kind == _frames.RESULT else (None, _error(name, response.kind, thing))


def _outcomes(name: str, response: Response) -> tuple[Any, Exception | None]:
    try:
        thing = _unpickled(response)
    except Exception as exc:
        return Blame(_refused_here(name, exc)), None
    if response.kind == _frames.RESULT:
        return _with_failures(name, *thing), None
    error = _error(name, response.kind, thing)
    is_an_items = response.kind == _frames.REFUSED and thing[0] != "handler"
    return (Blame(error), None) if is_an_items else (None, error)


def _with_failures(name: str, results: list[Any], failures: _frames.Failures) -> list[Any]:
    for index, kind, thing in failures:
        results[index] = Failed(_error(name, kind, thing))
    return results


def _unpickled(response: Response) -> Any:
    pieces, response.pieces = response.pieces, []
    if len(pieces) == 1 and not response.layout_size:
        return pickle.loads(pieces[0])  # noqa: S301 - from our worker
    source = _parcels.Pieces(pieces)
    del pieces  # each is let go of when it has been read
    layout = _parcels.read(source.readinto, response.layout_size)
    return _parcels.Arrival(source.readinto, response.size, layout, response.blocks).unpickled()


def _error(name: str, kind: int, thing: Any) -> Exception:
    match kind:
        case _frames.RAISED:
            return raised(name, *thing)
        case _frames.REFUSED:
            return _refused(name, *thing)
        case _frames.INITIALIZER_FAILED:
            return _not_set_up(*thing)
        case _:
            return _not_started(*thing)


def _refused_here(name: str, exc: Exception) -> Exception:
    error = TransferError(f"the result of {name!r} cannot be unpickled: {exc!r}")
    error.__cause__ = exc
    return error


def raised(name: str, report: _frames.Report, pickled: bytes, *, where: str = "worker process") -> Exception:
    """Return what a handler has raised in another process or interpreter, or why that cannot be known here."""
    type_name, representation, traceback = report
    try:
        error: object = pickle.loads(pickled)  # noqa: S301 - from our worker
        if not isinstance(error, BaseException):
            raise TypeError(f"unpickled to {error!r}")  # noqa: TRY301 - as bad as what `loads` may raise
    except Exception as exc:
        refusal = TransferError(
            f"{name!r} raised {representation} ({type_name}), which cannot be unpickled: {exc!r}; "
            f"its `__init__` must accept `args`. In the {where}:\n{traceback}"
        )
        refusal.__cause__ = exc
        return refusal
    error.__cause__ = RemoteTraceback(traceback)
    if isinstance(error, Exception):
        return error
    crash = HandlerCrashedError(f"{name!r} raised {representation}, which is no Exception")
    crash.__cause__ = error
    return crash


def _refused(name: str, what: str, report: _frames.Report) -> Exception:
    type_name, representation, traceback = report
    done = "pickled" if what in {"result", "exception"} else "unpickled"
    error = TransferError(
        f"the {what} of {name!r} cannot be {done} in the worker process: {representation} ({type_name})"
        f". In the worker process:\n{traceback}"
    )
    error.__cause__ = RemoteTraceback(traceback)
    return error


def _not_set_up(type_name: str, representation: str, traceback: str) -> Exception:
    error = InitializerError(f"the initializer raised {representation} ({type_name}) in a worker process:\n{traceback}")
    error.__cause__ = RemoteTraceback(traceback)
    return error


def _not_started(_type_name: str, _representation: str, traceback: str) -> Exception:
    return NotStartedError(
        "the worker process cannot import the script that the parent runs; what the script does rather than defines"
        f' belongs under `if __name__ == "__main__":`. In the worker process:\n{traceback}'
    )


def name_of(function: Function) -> str:
    """Return what people call the function."""
    return getattr(function, "__qualname__", None) or repr(function)


def _type_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
