"""What a fork must not copy: a compiler at work in another thread.

A child has one thread. What others held when the process forked is held for ever there, and LLVM is in the middle of something. So a fork waits
until nobody compiles, and holds everybody off meanwhile. What had been asked of the parent's threads is asked again in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from core_rt.compile.compiler import Compiler

__all__ = ["watch"]

_Lock: TypeAlias = "threading.Lock | threading.RLock"

_PATIENCE: Final = 60.0
"""Seconds that a fork waits for a lock, at most."""
_compilers: weakref.WeakSet[Compiler] = weakref.WeakSet()
_own = threading.local()
"""Of the thread that forks: `held`, what it holds meanwhile. Others may want to fork as well."""


def watch(compiler: Compiler) -> None:
    """Let forks wait for a compiler."""
    _compilers.add(compiler)


def _before() -> None:
    _own.held = held = ExitStack()
    for compiler in list(_compilers):
        # In the order in which threads take them.
        for lock in compiler.locks():
            if lock.acquire(timeout=_PATIENCE):
                held.callback(lock.release)


def _after() -> None:
    _own.held.close()


def _in_child() -> None:
    _after()
    for compiler in list(_compilers):
        compiler.ask_again()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
