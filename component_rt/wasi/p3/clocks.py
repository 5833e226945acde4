"""`wasi:clocks` 0.3: the system's clock, the monotonic clock, whose waits are asynchronous functions, and time zones."""

from __future__ import annotations

import datetime
import os
import time
import zoneinfo
from collections.abc import Coroutine
from typing import Any

from component_rt.tasks.waits import drivable
from component_rt.wasi import clocks as older
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.dual import Overlap
from component_rt.wasi.p3 import Host
from component_rt.wasi.pollable import Deadline, wait_any

__all__ = ["MonotonicClock", "SystemClock", "Timezone", "instant"]

_SECOND = 1_000_000_000


def instant(nanoseconds: int) -> dict[str, int]:
    """The record `system-clock.instant` for nanoseconds since 1970; seconds are negative before that."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    return {"seconds": seconds, "nanoseconds": rest}


class MonotonicClock(older.MonotonicClock):
    """`wasi:clocks/monotonic-clock`; marks and durations are nanoseconds."""

    get_resolution = older.MonotonicClock.resolution

    @Overlap
    def wait_until(self, when: int) -> Coroutine[Any, Any, None] | None:
        """Wait until the clock has reached `when`."""
        return None if self._clock() >= when else _reach(Deadline(self._clock, when))

    @Overlap
    def wait_for(self, how_long: int) -> Coroutine[Any, Any, None] | None:
        """Wait for a span of time."""
        return None if how_long == 0 else _reach(Deadline(self._clock, self._clock() + how_long))


@drivable
async def _reach(deadline: Deadline) -> None:
    await wait_any((deadline,))


class SystemClock:
    """`wasi:clocks/system-clock`."""

    def __init__(self, config: WasiConfig) -> None:
        self._clock = config.wall_clock

    def now(self) -> dict[str, int]:
        """The time since 1970-01-01T00:00:00Z."""
        return instant(self._clock())

    def get_resolution(self) -> int:
        """Nanoseconds of one tick."""
        return older.resolution(time.CLOCK_REALTIME)


class Timezone(older.Timezone):
    """`wasi:clocks/timezone` (unstable): the configured zone. Without one, nothing is told."""

    def __init__(self, config: WasiConfig) -> None:
        super().__init__(config)
        self._now = config.wall_clock

    def iana_id(self) -> str | None:
        """The name of the zone in the IANA database, if it has one."""
        if self._zone == "local":
            return _local_name()
        if self._zone is datetime.UTC:
            return "Etc/UTC"
        return self._zone.key if isinstance(self._zone, zoneinfo.ZoneInfo) else None

    def utc_offset(self, when: Any) -> int | None:  # type: ignore[override]
        """Nanoseconds that local time is ahead of UTC at an instant."""
        local = self._local(when)
        offset = None if local is None else local.utcoffset()
        if offset is None:
            return None
        return (offset.days * 86400 + offset.seconds) * _SECOND + offset.microseconds * 1000

    def to_debug_string(self) -> str:
        """The zone's name, or its present offset, for people."""
        name = self.iana_id()
        if name is not None or self._zone is None:
            return name or "UTC"
        local = self._local(instant(self._now()))
        offset = None if local is None else local.utcoffset()
        return "unknown" if offset is None else str(datetime.timezone(offset))


def _local_name() -> str | None:
    """The IANA name of the host's own zone: of `TZ`, or of the file that `/etc/localtime` is a link to."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return None
    return name


class _Types:
    """`wasi:clocks/types`, which has no functions."""


def interfaces(host: Host) -> dict[str, object]:
    """The interfaces of this package by name."""
    config = host.config
    return {
        "monotonic-clock": MonotonicClock(config),
        "system-clock": SystemClock(config),
        "timezone": Timezone(config),
        "types": _Types(),
    }
