"""`wasi:clocks`: the wall clock, the monotonic clock and time zones."""

from __future__ import annotations

import datetime
import time
from typing import Any

from component_rt.wasi._values import field
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.pollable import Deadline, Pollable
from core_rt.errors import Trap, TrapCode

__all__ = ["MonotonicClock", "Timezone", "WallClock", "datetime_record", "resolution"]

_MAX_U64 = (1 << 64) - 1


def resolution(clock: int) -> int:
    """Nanoseconds of a tick of one of the system's clocks (at least one)."""
    return max(round(time.clock_getres(clock) * 1e9), 1)


def datetime_record(nanoseconds: int) -> dict[str, int]:
    """The record `wall-clock.datetime` for nanoseconds since 1970 (times before that become 1970)."""
    seconds, rest = divmod(max(nanoseconds, 0), 1_000_000_000)
    return {"seconds": seconds, "nanoseconds": rest}


class WallClock:
    """`wasi:clocks/wall-clock`."""

    def __init__(self, config: WasiConfig) -> None:
        self._clock = config.wall_clock

    def now(self) -> dict[str, int]:
        """The time since 1970-01-01T00:00:00Z."""
        return datetime_record(self._clock())

    def resolution(self) -> dict[str, int]:
        """The span of one tick."""
        return datetime_record(resolution(time.CLOCK_REALTIME))


class MonotonicClock:
    """`wasi:clocks/monotonic-clock`; instants and durations are nanoseconds."""

    def __init__(self, config: WasiConfig) -> None:
        self._clock = config.monotonic_clock

    def now(self) -> int:
        """Nanoseconds since some start. Raises `Trap` if the clock has left the range of a u64."""
        now = self._clock()
        if not 0 <= now <= _MAX_U64:
            raise Trap(TrapCode.HOST, f"the monotonic clock says {now}, which is no u64")
        return now

    def resolution(self) -> int:
        """Nanoseconds of one tick."""
        return resolution(time.CLOCK_MONOTONIC)

    def subscribe_instant(self, when: int) -> Pollable:
        """A pollable that is ready once the clock has reached `when`."""
        return Pollable(Deadline(self._clock, when))

    def subscribe_duration(self, when: int) -> Pollable:
        """A pollable that is ready `when` nanoseconds from now."""
        return Pollable(Deadline(self._clock, self._clock() + when))


class Timezone:
    """`wasi:clocks/timezone` (unstable): the configured zone, UTC unless told otherwise."""

    def __init__(self, config: WasiConfig) -> None:
        self._zone = config.timezone

    def _local(self, when: Any) -> datetime.datetime | None:
        if self._zone is None:
            return None
        try:
            utc = datetime.datetime.fromtimestamp(field(when, "seconds"), datetime.UTC)
            return utc.astimezone(None if self._zone == "local" else self._zone)
        except (OverflowError, ValueError, OSError):
            return None

    def display(self, when: Any) -> dict[str, object]:
        """Offset in seconds, name, and whether it is summer time; UTC where that cannot be told."""
        local = self._local(when)
        if local is None:
            return {"utc_offset": 0, "name": "UTC", "in_daylight_saving_time": False}
        summer = time.localtime(local.timestamp()).tm_isdst > 0 if self._zone == "local" else bool(local.dst())
        return {"utc_offset": self._offset(local), "name": local.tzname() or "UTC", "in_daylight_saving_time": summer}

    def utc_offset(self, when: Any) -> int:
        """Seconds that local time is ahead of UTC."""
        local = self._local(when)
        return 0 if local is None else self._offset(local)

    @staticmethod
    def _offset(local: datetime.datetime) -> int:
        offset = local.utcoffset()
        return 0 if offset is None else round(offset.total_seconds())


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {
        "wasi:clocks/monotonic-clock": MonotonicClock(config),
        "wasi:clocks/timezone": Timezone(config),
        "wasi:clocks/wall-clock": WallClock(config),
    }
