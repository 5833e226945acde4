"""Waiting for clocks and descriptors."""

from __future__ import annotations

import os
import struct

from component_rt.wasi.pollable import Deadline, Source, wait_any_sync
from component_rt.wasi.preview1.abi import EVENT, SUBSCRIPTION_SIZE
from component_rt.wasi.preview1.state import Fd, State
from component_rt.wasi.preview1.support import Fail

__all__ = ["Poll"]

_MOST_SUBSCRIPTIONS = 4096


class Poll(State):
    """`poll_oneoff`."""

    def poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> None:
        if not count or count > _MOST_SUBSCRIPTIONS:
            raise Fail("inval")
        data = bytes(self._span(subscriptions, SUBSCRIPTION_SIZE * count))
        self._span(events, EVENT.size * count)
        waits: list[Source] = []
        heads: list[tuple[int, int, Fd | None]] = []
        failed = bytearray()
        for start in range(0, len(data), SUBSCRIPTION_SIZE):
            userdata, kind = struct.unpack_from("<QB", data, start)
            try:
                source, entry = self._subscription(kind, data, start)
            except Fail as failure:
                failed += EVENT.pack(userdata, failure.number, kind, 0, 0)
                continue
            waits.append(source)
            heads.append((userdata, kind, entry))
        out = failed
        if not failed:
            for index in wait_any_sync(waits):
                userdata, kind, entry = heads[index]
                out += EVENT.pack(userdata, 0, kind, 0 if entry is None else _available(kind, entry), 0)
        self._span(events, len(out))[:] = out
        self._u32(result, len(out) // EVENT.size)

    def _subscription(self, kind: int, data: bytes, start: int) -> tuple[Source, Fd | None]:
        if kind == 0:
            number, timeout, _, flags = struct.unpack_from("<IxxxxQQH", data, start + 16)
            clock = self._clock(number)
            return Deadline(clock, timeout if flags & 1 else clock() + timeout), None
        if kind > 2:
            raise Fail("inval")
        entry = self._fd(struct.unpack_from("<I", data, start + 16)[0])
        stream = entry.input if kind == 1 else entry.output
        if stream is not None:
            return stream.subscribe().source, entry
        if entry.descriptor is None:
            raise Fail("badf")
        # Files are always ready.
        return Deadline(int, 0), entry


def _available(kind: int, entry: Fd) -> int:
    """What an event says about how much can be moved at once."""
    descriptor = entry.descriptor
    if kind == 1 and descriptor is not None and not descriptor.directory:
        return max(os.fstat(descriptor.fd).st_size - entry.position, 0)
    return 1
