"""A graph of immutable objects as bytes, to be read at once and quickly.

Theory of operation. An object is a *node*: what kind it is and what its maker takes. The nodes of a graph are sorted by how far they
are from the leaves, then by kind, and numbered in that order. So a reader makes each group of nodes with one `map` over *columns* of
arguments, in which the numbers of nodes have been looked up, without a step in Python for each object; and an object that occurs in
several places is one object again. Columns hold numbers, text and tuples of such, which `marshal` reads: that makes no
object of any other class and runs no code.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

__all__ = ["Kind", "Unstorable", "read_graph", "write_graph"]


class Unstorable(Exception):
    """The graph holds something that is of no kind known, or a cycle."""


class Kind(NamedTuple):
    """A class of objects: what an object's maker takes, and the maker."""

    taken: Callable[[Any], Sequence[Any]]
    make: Callable[..., Any]


_PLAIN: Final = frozenset((type(None), bool, int, float, str, bytes))
_VALUE, _NODE, _NODES = 0, 1, 2
"""What a column holds: values as they are, numbers of nodes, tuples of numbers of nodes."""


class _Elements(tuple[Any, ...]):
    """An argument that is a sequence of nodes."""

    __slots__ = ()


def _dict(keys: Iterable[Any], values: Iterable[Any]) -> dict[Any, Any]:
    return dict(zip(keys, values, strict=True))


_CONTAINERS: Final[dict[type, Kind]] = {
    tuple: Kind(lambda v: (_Elements(v),), tuple),
    list: Kind(lambda v: (_Elements(v),), list),
    frozenset: Kind(lambda v: (_Elements(v),), frozenset),
    dict: Kind(lambda v: (tuple(v), _Elements(v.values())), _dict),
    MappingProxyType: Kind(lambda v: (dict(v),), MappingProxyType),
}


def _constant(value: Any) -> Any:
    return value


_CONSTANT: Final = Kind(lambda v: (v,), _constant)


class _Node:
    __slots__ = ("arguments", "kind", "level", "number")

    def __init__(self, kind: int, level: int, arguments: list[tuple[int, Any]]) -> None:
        self.kind = kind
        self.level = level
        self.arguments = arguments
        self.number = -1


def _table(kinds: Mapping[type, Kind]) -> dict[type, Kind]:
    return {object: _CONSTANT, **_CONTAINERS, **kinds}


class _Writer:
    def __init__(self, kinds: Mapping[type, Kind]) -> None:
        self.kinds = _table(kinds)
        self.index = {cls: number for number, cls in enumerate(self.kinds)}
        self.nodes: list[_Node] = []
        self._known: dict[int, tuple[Any, _Node | None]] = {}
        self._constants: dict[tuple[type, Any], _Node] = {}

    def argument(self, value: Any) -> tuple[int, Any]:
        """How a maker is given a value."""
        if type(value) is _Elements:
            return _NODES, [self.node(element) for element in value]
        if _is_plain(value):
            return _VALUE, value
        return _NODE, self.node(value)

    def node(self, value: Any) -> _Node:
        """The node of any value."""
        if _is_plain(value) and type(value) in _PLAIN:
            key = type(value), value
            found = self._constants.get(key)
            if found is None:
                found = self._constants[key] = self._add(object, [(_VALUE, value)])
            return found
        known = self._known.get(id(value))
        if known is not None:
            if known[1] is None:
                raise Unstorable(f"a {type(value).__name__} within itself")
            return known[1]
        self._known[id(value)] = value, None
        cls = type(value)
        kind = self.kinds.get(cls)
        if kind is None:
            raise Unstorable(f"a {cls.__name__}")
        made = self._add(cls, [self.argument(each) for each in kind.taken(value)])
        self._known[id(value)] = value, made
        return made

    def _add(self, cls: type, arguments: list[tuple[int, Any]]) -> _Node:
        level = 0
        for how, value in arguments:
            if how == _NODE:
                level = max(level, value.level + 1)
            elif how == _NODES:
                level = max([level, *[node.level + 1 for node in value]])
        made = _Node(self.index[cls], level, arguments)
        self.nodes.append(made)
        return made


def _is_plain(value: Any) -> bool:
    """Whether `marshal` reads the value as it is."""
    cls = type(value)
    if cls in _PLAIN:
        return True
    if cls is tuple or cls is list or cls is set or cls is frozenset:
        return all(map(_is_plain, value))
    if cls is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return False


def write_graph(root: Any, kinds: Mapping[type, Kind]) -> bytes:
    """The graph below `root` as bytes. Raises `Unstorable`; `RecursionError` for one that is out of all proportion."""
    writer = _Writer(kinds)
    top = writer.node(root)
    groups: dict[tuple[int, int, tuple[int, ...]], list[_Node]] = {}
    for node in writer.nodes:
        how = tuple([how for how, _ in node.arguments])
        groups.setdefault((node.level, node.kind, how), []).append(node)
    number = 0
    for _, nodes in sorted(groups.items()):
        for node in nodes:
            node.number = number
            number += 1
    rows = []
    for (_, kind, how), nodes in sorted(groups.items()):
        columns = []
        for place, form in enumerate(how):
            column = [node.arguments[place][1] for node in nodes]
            if form == _NODE:
                column = [node.number for node in column]
            elif form == _NODES:
                column = [tuple([node.number for node in each]) for each in column]
            columns.append(tuple(column))
        rows.append((kind, how, tuple(columns)))
    return marshal.dumps((top.number, tuple(rows)), 4)


def read_graph(data: bytes | memoryview, kinds: Mapping[type, Kind]) -> Any:
    """The root of a graph that `write_graph` wrote with kinds of the same classes, in the same order. `ValueError` if it is none."""
    try:
        top, rows = marshal.loads(data)
        makers = [kind.make for kind in _table(kinds).values()]
        made: list[Any] = []
        look = made.__getitem__
        for kind, how, columns in rows:
            ready: list[Any] = []
            for form, column in zip(how, columns, strict=True):
                if form == _NODE:
                    ready.append(map(look, column))
                elif form == _NODES:
                    ready.append([tuple(map(look, each)) for each in column])
                else:
                    ready.append(column)
            # As a list first: what is looked up must not be what is being made.
            made.extend(list(map(makers[kind], *ready)))
        return made[top]
    except (EOFError, IndexError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"not a stored graph: {error!r}") from error
