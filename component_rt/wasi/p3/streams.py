"""Streams of WASI 0.3 over the streams of WASI 0.2: what is read and written is the same, and so is how one waits for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from component_rt.tasks.ends import BYTES
from component_rt.tasks.later import Later
from component_rt.tasks.supplies import Drain, Supply
from component_rt.wasi._values import Err, Ok
from component_rt.wasi.io import FAILURES, InputStream, IoError, OutputStream
from component_rt.wasi.pollable import Source, wait_any

__all__ = ["InputSupply", "OutputDrain", "PolledSupply"]

Code = Callable[[BaseException], Any]


class PolledSupply(Supply):
    """A `stream<u8>` of what comes in at `source`, which is looked at whenever it may be ready."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def _take(self) -> bytes | None:
        """Bytes that are there, `b""` if none are yet, None at the end, be it a good one or not."""
        raise NotImplementedError

    def next(self) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        data = self._take()
        return self._wait() if data == b"" else data

    async def _wait(self) -> bytes | None:
        while True:
            await wait_any((self._source,))
            if (data := self._take()) != b"":
                return data


class InputSupply(PolledSupply):
    """A `stream<u8>` of what an input stream brings; `result` becomes its outcome when it is over."""

    __slots__ = ("_code", "_input", "_outcome", "result")

    def __init__(self, source: InputStream, code: Code) -> None:
        """`code(exception)` is the error code for what reading raises."""
        super().__init__(source)
        self._input = source
        self._code = code
        self._outcome: Any = Ok(None)
        self.result = Later()

    def _take(self) -> bytes | None:
        try:
            # No more than is wanted: others may read the same input when this stream is dropped.
            return self._input._take(min(self.wanted or 1, BYTES))
        except FAILURES as error:
            self._outcome = Err(self._code(error))
            return None

    def over(self) -> None:
        self.result.set(self._outcome)


class OutputDrain(Drain):
    """Writes a guest's `stream<u8>` to an output stream; `result` becomes the outcome when it is over."""

    __slots__ = ("_code", "_outcome", "_output", "result")
    OVERLAPS: ClassVar[bool] = False
    """Whether other tasks go on in a synchronous store while this waits: it may be one of them that it waits for."""

    def __init__(self, target: OutputStream, code: Code) -> None:
        """`code(exception)` is the error code for what writing raises."""
        super().__init__()
        self._output = target
        self._code = code
        self._outcome: Any = Ok(None)
        self.result = Later()

    def put(self, chunk: bytes) -> bool | Coroutine[Any, Any, bool]:
        if self.OVERLAPS:
            return self.put_async(chunk)
        try:
            self._output.blocking_write_and_flush.sync(chunk)
        except Err as error:
            return self._failed(error)
        return True

    def put_async(self, chunk: bytes) -> bool | Coroutine[Any, Any, bool]:
        try:
            answer = self._output.blocking_write_and_flush.asynchronous(chunk)
        except Err as error:
            return self._failed(error)
        return True if answer is None else self._wait(answer)

    async def _wait(self, writing: Coroutine[Any, Any, None]) -> bool:
        try:
            await writing
        except Err as error:
            return self._failed(error)
        return True

    def _failed(self, error: Err) -> bool:
        # A stream error of WASI 0.2: `closed`, or `last-operation-failed` with the cause.
        cause = getattr(error.value, "value", None)
        closed = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        self._outcome = Err(self._code(cause.exception if isinstance(cause, IoError) else closed))
        return False

    def over(self) -> None:
        self.result.set(self._outcome)
