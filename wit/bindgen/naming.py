"""What everything is called in the generated module, where all names share one scope."""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from wit.names import kebab_to_camel, kebab_to_snake

__all__ = ["allot", "camel_names", "param_names", "shadowed_builtins", "snake_names"]

_BUILTINS = frozenset(
    {"bool", "bytearray", "bytes", "dict", "float", "int", "list", "memoryview", "str", "tuple", "type"}
)


def allot(wishes: Sequence[tuple[Hashable, Sequence[str]]], taken: Iterable[str] = ()) -> dict[Hashable, str]:
    """A different name for each key: the first of its wishes that nobody else has as the same wish.

    That treats equals alike: of two `error` types none is `Error`, they are `StreamsError` and `FilesError`.
    """
    names: dict[Hashable, str] = {}
    used = set(taken)
    left = list(wishes)
    for level in range(max((len(w) for _, w in wishes), default=0)):
        here = {key: options[min(level, len(options) - 1)] for key, options in left}
        counts = Counter(here.values())
        for key, name in here.items():
            if counts[name] == 1 and name not in used:
                names[key] = name
        used.update(here[key] for key in here if key in names)
        left = [(key, options) for key, options in left if key not in names]
    for key, options in left:
        name = options[-1]
        while name in used:
            name += "_"
        names[key] = name
        used.add(name)
    return names


def snake_names(labels: Iterable[str]) -> list[str]:
    """Python names of fields or functions of one scope."""
    return _distinct(map(kebab_to_snake, labels))


def camel_names(labels: Iterable[str]) -> list[str]:
    """Python names of the cases of a variant."""
    return _distinct(map(kebab_to_camel, labels))


def param_names(labels: Iterable[str]) -> list[str]:
    """Python names of parameters; `self` is taken."""
    return _distinct(["self", *map(kebab_to_snake, labels)])[1:]


def _distinct(names: Iterable[str]) -> list[str]:
    """Labels that differ may become one name (`a-1` and `a1` in camel case): later ones take underscores."""
    found: dict[str, None] = {}
    for name in names:
        while name in found:
            name += "_"
        found[name] = None
    return list(found)


def shadowed_builtins(names: Iterable[str]) -> frozenset[str]:
    """The built-in types that members of generated classes hide in annotations of the same class."""
    assert all(hasattr(builtins, name) for name in _BUILTINS)
    return _BUILTINS.intersection(names)
