"""Python's cycle collector, put off while a component or a function is read.

Reading a component makes tens of thousands of objects that all stay, and every few hundred of them set off a collection which finds
nothing to free: a fifth to a third of the time a component takes to load. A function's instructions are as many, and gone when it has been
translated. Types and records hold no cycles, so that what
is discarded on the way (an invalid component, say) goes at once without a collector.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_collections"]

_lock = threading.Lock()
_inside = 0
_was_on = False


@contextmanager
def without_collections() -> Iterator[None]:
    """No automatic collections meanwhile, in any thread; off before, they stay off. May be nested and concurrent."""
    global _inside, _was_on
    with _lock:
        if not _inside:
            _was_on = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _was_on:
                gc.enable()
