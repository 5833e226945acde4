"""What went wrong, for a person at a terminal, and the exit code that says so to a script.

| code | meaning |
|---|---|
| 0–255 | the guest's own, from a guest that ran to its end |
| 1 | the file cannot be read, decoded, validated or linked; or a function raised |
| 2 | wrong usage |
| 124 | out of time (`--timeout`) |
| 130 | interrupted (Ctrl-C) |
| 134 | the guest trapped or ran out of fuel or memory |

Imports nothing of the runtime: `--version` and `--help` need none of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import click

__all__ = ["STOPPING", "TRAPPED", "TimedOut", "deadline", "fail", "reporting", "take_deadline"]

FAILED = 1
TIMED_OUT = 124
INTERRUPTED = 130
TRAPPED = 134

STOPPING = "stopping when the requests under way are answered; again to stop at once"
"""What a server says to the first signal."""


class TimedOut(Exception):
    """`--timeout` is over."""


def _style(text: str, **style: object) -> str:
    return click.style(text, **style) if sys.stderr.isatty() and "NO_COLOR" not in os.environ else text  # type: ignore[arg-type]


def fail(what: str, message: str, code: int) -> SystemExit:
    """Print an error on stderr; raise what is returned."""
    with contextlib.suppress(OSError):
        print(f"{_style(f'{what}:', fg='red', bold=True)} {message}", file=sys.stderr)
    return SystemExit(code)


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn the errors of the runtime and of the system into messages and exit codes."""
    try:
        yield
    except TimedOut as error:
        raise fail("timeout", str(error), TIMED_OUT) from None
    except KeyboardInterrupt:
        raise fail("interrupted", "stopped by a signal", INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has gone: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(FAILED) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise fail("error", f"{where}{error.strerror or error}", FAILED) from None
    except Exception as error:
        raise _exit(error) from None


def _exit(error: Exception) -> BaseException:
    """What to raise for an error of the runtime; any other is a fault of ours and is raised as it is."""
    from core_rt.errors import ExhaustionError, GuestExit, InstancePoisoned, Trap, WasmError

    match error:
        case GuestExit():
            return SystemExit(error.code)
        case Trap() | InstancePoisoned():
            return fail("trap", str(error), TRAPPED)
        case ExhaustionError():
            return fail("limit", str(error), TRAPPED)
        case WasmError():
            return fail("error", str(error), FAILED)
    return error


@contextlib.contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `TimedOut` in this (the main) thread after some seconds, wherever it is: in guest code or waiting."""
    if seconds is None:
        yield
        return

    def expired(number: int, frame: FrameType | None) -> None:
        raise TimedOut(f"the guest was stopped after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    # Again and again: where Python swallows exceptions (a destructor), the first could be lost.
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def take_deadline() -> float:
    """The seconds that are left of `deadline`, which does nothing from now on: trio's loop has deadlines of its own."""
    if signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, signal.SIG_IGN, None):
        return float("inf")
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    return left or float("inf")
