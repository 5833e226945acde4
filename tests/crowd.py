"""Threads that share a store."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core_rt.errors import StoreError

__all__ = ["crowd"]


def crowd(works: list[Callable[[], object]], seconds: float) -> list[object]:
    """Do all works at once, each in a thread of its own and again and again; the result is what was wrong.

    A work answers what it found wrong, or None. To be told that the store is in use in another thread is right.
    """
    wrong: list[object] = []
    stop = threading.Event()

    def again_and_again(work: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                found = work()
            except StoreError as error:
                if "another thread" in str(error):
                    continue
                found = error
            except BaseException as error:
                found = error
            if found is not None:
                wrong.append(found)
                return

    threads = [threading.Thread(target=again_and_again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return wrong
