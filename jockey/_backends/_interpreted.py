"""
The program of an interpreter: call a function with each payload, and leave the answer where it can be fetched.

As in a worker process, it runs without the rest of jockey, which a handler may import or not.
"""

from __future__ import annotations

import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

from jockey._backends import _frames
from jockey._backends._worker import preparing_main, report_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    Handler = Callable[[object], object]
    Answer = tuple[int, bytes]

LENGTH: Final = struct.Struct("<Q")
"""What a reply begins with: how long the rest is."""

_MAIN = b"__main__"


class Program:
    """
    What stays in an interpreter from job to job.

    Args:
        script: The name and the path of the main module, of which one is enough; None if there is none to import.
    """

    def __init__(self, script: tuple[str | None, str | None] | None) -> None:
        self._script = script
        self._handlers: dict[bytes, Handler] = {}
        self._rest = b""

    def initialize(self, request: Buffer, reply: memoryview) -> None:
        """Call the initializer, and write into *reply* how it ended; *request* is the pickled call."""
        self._write(pickle.dumps(self._initialized(bytes(request))), reply)

    def answer(self, request: Buffer, reply: memoryview) -> None:
        """
        Call a handler with each of some payloads, and write into *reply* how these calls ended, as far as it fits.

        Args:
            request: Pickled: the pickled handler, and the list of the pickled payloads.
            reply: Gets the length of the answer, and the answer: the pickled list of the ends.
        """
        reference, payloads = pickle.loads(request)  # noqa: S301 - from our own process
        self._write(pickle.dumps([self._end_of(reference, payload) for payload in payloads]), reply)

    def copy_rest(self, reply: memoryview) -> None:
        """Write into *reply* what did not fit before."""
        reply[:] = self._rest
        self._rest = b""

    def _write(self, answer: bytes, reply: memoryview) -> None:
        fits = len(reply) - LENGTH.size
        reply[: LENGTH.size] = LENGTH.pack(len(answer))
        reply[LENGTH.size : LENGTH.size + min(len(answer), fits)] = answer[:fits]
        self._rest = answer[fits:]

    def _initialized(self, request: bytes) -> Answer:
        try:
            self._import_script_for(request)
            initializer, arguments = pickle.loads(request)  # noqa: S301 - from our own process
            initializer(*arguments)
        except BaseException as exc:  # noqa: ASYNC103 - all is told
            return _raised(exc)  # noqa: ASYNC104
        return _frames.RESULT, b""

    def _end_of(self, reference: bytes, pickled: bytes) -> Answer:
        try:
            handler = self._handler(reference)
        except BaseException as exc:  # noqa: ASYNC103 - all is told
            return _refused("handler", exc)  # noqa: ASYNC104
        try:
            self._import_script_for(pickled)
            payload = pickle.loads(pickled)  # noqa: S301 - from our own process
        except BaseException as exc:  # noqa: ASYNC103 - all is told
            return _refused("payload", exc)  # noqa: ASYNC104
        try:
            result = handler(payload)
        except BaseException as exc:  # noqa: ASYNC103 - all is told
            return _raised(exc)  # noqa: ASYNC104
        try:
            return _frames.RESULT, pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
        except BaseException as exc:  # noqa: ASYNC103 - all is told
            return _refused("result", exc)  # noqa: ASYNC104

    def _handler(self, reference: bytes) -> Handler:
        handler = self._handlers.get(reference)
        if handler is None:
            self._import_script_for(reference)
            handler = self._handlers[reference] = pickle.loads(reference)  # noqa: S301 - from our own process
        return handler

    def _import_script_for(self, pickled: bytes) -> None:
        # Only who asks for something in the script has to wait for it: most handlers are in other modules.
        if self._script is not None and _MAIN in pickled:
            _import_script(*self._script)
            self._script = None


def _import_script(name: str | None, path: str | None) -> None:
    import runpy  # noqa: PLC0415 - mostly not needed

    preparing_main.set()
    try:
        # As multiprocessing does it: under this name, so that what is guarded does not run.
        content: dict[str, Any] = (
            runpy.run_module(name, run_name="__mp_main__", alter_sys=True)
            if name
            else runpy.run_path(path or "", run_name="__mp_main__")
        )
    finally:
        preparing_main.clear()
    main = sys.modules["__mp_main__"] = sys.modules["__main__"]
    vars(main).update(content)


def _raised(exc: BaseException) -> Answer:
    try:
        pickled = pickle.dumps(exc, pickle.HIGHEST_PROTOCOL)
    except BaseException:  # noqa: ASYNC103 - all is told
        return _refused("exception", exc)  # noqa: ASYNC104
    return _frames.RAISED, pickle.dumps((report_on(exc), pickled))


def _refused(what: str, exc: BaseException) -> Answer:
    return _frames.REFUSED, pickle.dumps((what, report_on(exc)))
