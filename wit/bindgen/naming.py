"""What everything is called in the generated module, where all names share one scope."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from wit.names import kebab_to_camel, kebab_to_snake

__all__ = ["allot", "camel_names", "class_suffix", "param_names", "shadowed_builtins", "snake_names", "sort_key"]

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
    """Python names of the fields of a record; `self` is what their constructor calls the record."""
    return _distinct("self_" if label == "self" else kebab_to_snake(label) for label in labels)


def camel_names(labels: Iterable[str]) -> list[str]:
    """Python names of the cases of a variant."""
    return _distinct(map(kebab_to_camel, labels))


def class_suffix(camel: str) -> str:
    """The name of a case within that of its class: `Option_None`, though by itself it is `None_`."""
    plain = camel.removesuffix("_")
    return plain if keyword.iskeyword(plain) else camel


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


def sort_key(name: str) -> tuple[object, ...]:
    """The order that formatters want in `__all__`: constants, classes, others; numbers inside of names by value."""
    group = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    parts = re.split(r"([0-9]+)", name)
    return group, [(part, -1) if i % 2 == 0 else ("", int(part)) for i, part in enumerate(parts)]
