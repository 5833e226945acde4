"""Arguments, the environment, clocks, randomness, and the end of the process."""

from __future__ import annotations

import struct
import time

from component_rt.wasi.preview1.state import M32, State
from component_rt.wasi.preview1.support import Fail
from core_rt.errors import GuestExit

__all__ = ["Process"]


class Process(State):
    """`args_*`, `environ_*`, `clock_*`, `random_get`, `sched_yield` and `proc_*`."""

    def _strings(self, strings: list[bytes], pointers: int, buffer: int) -> None:
        data = self._data()
        for index, text in enumerate(strings):
            struct.pack_into("<I", data, pointers + 4 * index, buffer)
            self._span(buffer, len(text))[:] = text
            buffer += len(text)

    def args_get(self, argv: int, buffer: int) -> None:
        self._strings(self._args, argv, buffer)

    def args_sizes_get(self, count: int, size: int) -> None:
        self._u32(count, len(self._args))
        self._u32(size, sum(map(len, self._args)))

    def environ_get(self, environ: int, buffer: int) -> None:
        self._strings(self._environ, environ, buffer)

    def environ_sizes_get(self, count: int, size: int) -> None:
        self._u32(count, len(self._environ))
        self._u32(size, sum(map(len, self._environ)))

    def clock_res_get(self, clock: int, result: int) -> None:
        self._clock(clock)
        ids = (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_PROCESS_CPUTIME_ID, time.CLOCK_THREAD_CPUTIME_ID)
        self._u64(result, max(round(time.clock_getres(ids[clock]) * 1e9), 1))

    def clock_time_get(self, clock: int, precision: int, result: int) -> None:
        self._u64(result, self._clock(clock)())

    def random_get(self, buffer: int, length: int) -> None:
        # The span first: bytes that fit nowhere are not made.
        span = self._span(buffer, length)
        span[:] = self.config.random_bytes(length)

    def sched_yield(self) -> None:
        time.sleep(0)

    def proc_exit(self, code: int) -> None:
        raise GuestExit(code & M32)

    def proc_raise(self, signal: int) -> None:
        raise Fail("nosys")
