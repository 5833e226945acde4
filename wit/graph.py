"""Ordering of things that depend on each other, without recursion: a chain may be as long as the input likes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Cycle", "toposort"]

N = TypeVar("N", bound=Hashable)


class Cycle(Exception):
    """`path` is the cycle: each node depends on the next, the last on the first. Callers turn it into a `WitError`."""

    def __init__(self, path: list[Hashable]) -> None:
        super().__init__(path)
        self.path = path


def toposort(nodes: Iterable[N], dependencies: Callable[[N], Iterable[N]]) -> list[N]:
    """All nodes and what they depend on, dependencies first, otherwise in the given order. Raises `Cycle`."""
    done: dict[N, None] = {}
    for root in nodes:
        if root in done:
            continue
        path: dict[N, Iterator[N]] = {root: iter(dependencies(root))}
        while path:
            node, rest = next(reversed(path.items()))
            for dependency in rest:
                if dependency in path:
                    chain = list(path)
                    raise Cycle(list(chain[chain.index(dependency) :]))
                if dependency not in done:
                    path[dependency] = iter(dependencies(dependency))
                    break
            else:
                done[node] = None
                path.popitem()
    return list(done)
