"""Custom sections that carry names and branch hints. They never make a module fail: what is malformed is left out.

Spec: "Appendix", "Custom Sections"; branch hinting proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core_rt.binary.reader import Reader
from core_rt.errors import DecodeError

__all__ = ["Names", "read_branch_hints", "read_names"]


class Names:
    """What the name section says. Maps go from index to name; `locals`, `labels`, `fields` by outer and inner index."""

    __slots__ = (
        "data_segments", "elements", "fields", "functions", "globals", "labels", "locals", "memories", "module", "tables",
        "tags", "types",
    )  # fmt: skip

    def __init__(self) -> None:
        self.module: str | None = None
        self.functions: dict[int, str] = {}
        self.locals: dict[int, dict[int, str]] = {}
        self.labels: dict[int, dict[int, str]] = {}
        self.types: dict[int, str] = {}
        self.tables: dict[int, str] = {}
        self.memories: dict[int, str] = {}
        self.globals: dict[int, str] = {}
        self.elements: dict[int, str] = {}
        self.data_segments: dict[int, str] = {}
        self.fields: dict[int, dict[int, str]] = {}
        self.tags: dict[int, str] = {}


# Subsection id → field of Names. Ids 3 and 5..9 are the extended name section proposal's, which tools write.
_FLAT: Final = {
    1: "functions",
    4: "types",
    5: "tables",
    6: "memories",
    7: "globals",
    8: "elements",
    9: "data_segments",
    11: "tags",
}
_NESTED: Final = {2: "locals", 3: "labels", 10: "fields"}


def _name_map(reader: Reader, into: dict[int, str]) -> None:
    for _ in range(reader.length()):
        index = reader.u32()
        into[index] = reader.name()


def _indirect_name_map(reader: Reader, into: dict[int, dict[int, str]]) -> None:
    for _ in range(reader.length()):
        index = reader.u32()
        _name_map(reader, into.setdefault(index, {}))


def read_names(section: bytes | None) -> Names:
    """The contents of the custom section `name`; empty if there is none."""
    names = Names()
    if section is None:
        return names
    reader = Reader(section)
    try:
        while reader.pos < reader.end:
            id_ = reader.byte()
            size = reader.length()
            start = reader.pos
            sub = Reader(section, start, min(start + size, len(section)))
            if id_ == 0:
                names.module = sub.name()
            else:
                _read_subsection(id_, sub, names)
            reader.pos = start + size
    except DecodeError:
        pass  # sizes no longer make sense: keep what was read
    return names


def _read_subsection(id_: int, reader: Reader, names: Names) -> None:
    read: Callable[..., None]
    if id_ in _FLAT:
        field, read = _FLAT[id_], _name_map
    elif id_ in _NESTED:
        field, read = _NESTED[id_], _indirect_name_map
    else:
        return
    try:
        read(reader, getattr(names, field))
    except DecodeError:
        pass  # the names before the malformed one stay


def read_branch_hints(section: bytes | None, starts: dict[int, int]) -> dict[int, dict[int, bool]]:
    """Function index → offset of the branch in the module → whether it is likely taken.

    `starts` says where each function's body begins (its local declarations), to which the section's offsets are
    relative.
    """
    hints: dict[int, dict[int, bool]] = {}
    if section is None:
        return hints
    reader = Reader(section)
    try:
        for _ in range(reader.length()):
            func = reader.u32()
            here: dict[int, bool] = {}
            for _ in range(reader.length()):
                offset = reader.u32()
                value = reader.take(reader.length())
                if len(value) == 1 and value[0] <= 1 and func in starts:
                    here[starts[func] + offset] = value == b"\x01"
            if here:
                hints[func] = here
    except DecodeError:
        pass  # hints have no meaning beyond speed
    return hints
