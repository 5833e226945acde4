"""The ticker: a C thread that interrupts every store that somebody is inside, once per period."""

from __future__ import annotations

import threading

from core_rt.native.lib import lib

__all__ = ["start_ticker", "stop_ticker", "ticker_period"]

_lock = threading.Lock()


def start_ticker(seconds: float) -> None:
    """Tick at least every `seconds`; of several wishes the shortest counts.

    The thread starts with the first call of a guest and sleeps while there are none.
    """
    if not 0 < seconds <= 3600:
        raise ValueError(f"a tick takes more than 0 and at most 3600 seconds, not {seconds}")
    microseconds = max(100, round(seconds * 1e6))
    with _lock:
        now = lib.vm_ticker_get_period()
        if now == 0 or microseconds < now:
            lib.vm_ticker_period(microseconds)


def stop_ticker() -> None:
    """No more ticks, until `start_ticker` is called again."""
    with _lock:
        lib.vm_ticker_period(0)


def ticker_period() -> float:
    """Seconds between ticks, 0 when there are none."""
    return lib.vm_ticker_get_period() / 1e6
