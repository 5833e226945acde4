"""Bytes to `syntax.Component`: one function per section (Binary.md, "Component Definitions").

Everything that is malformed is found here and raises `DecodeError`, whatever the definitions mean; core modules are
only delimited. What uses a feature that is switched off raises `ValidationError` naming the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from component_rt.binary.canon import read_canon
from component_rt.binary.core import read_core_type
from component_rt.binary.names import read_names
from component_rt.binary.reader import Reader
from component_rt.binary.syntax import (
    AliasExport,
    AliasOuter,
    Component,
    CoreBag,
    CoreInstantiate,
    CoreModule,
    Export,
    ExternName,
    Import,
    InstanceBag,
    Instantiate,
    Item,
    Nested,
    Start,
    TypeDef,
    ValueDef,
)
from component_rt.binary.types import (
    CORE_SORTS,
    MAX_NESTING,
    read_alias,
    read_extern,
    read_extern_name,
    read_sort,
    read_type,
    read_valtype,
    require,
)
from component_rt.features import Features
from component_rt.model import Names, Sort
from core_rt.errors import ValidationError

__all__ = ["decode_component", "is_component"]

MAGIC = b"\0asm"
COMPONENT_VERSION = b"\x0d\x00\x01\x00"
MODULE_VERSION = b"\x01\x00\x00\x00"

MAX_DEFINITIONS = 1_000_000
MAX_ARGS = 100_000


def is_component(data: bytes | memoryview) -> bool:
    """Whether the bytes begin like a component rather than a core module."""
    return bytes(data[:4]) == MAGIC and bytes(data[6:8]) == b"\x01\x00"


def decode_component(data: bytes | bytearray | memoryview, features: Features | None = None) -> Component:
    """Decode a component binary.

    Raises `DecodeError` (malformed) or `ValidationError` (a feature is off, an implementation limit), with the absolute
    byte offset.
    """
    if isinstance(data, memoryview):
        data = data.cast("B") if data.contiguous else bytes(data)
    elif isinstance(data, bytearray):
        data = bytes(data)
    try:
        return _component(Reader(data, 0, len(data)), Features() if features is None else features, 0)
    except RecursionError:
        # The limit of nesting leaves room for a caller's frames, but not for any number of them.
        raise ValidationError("the component is nested too deeply for what is left of the stack", 0) from None


def _preamble(r: Reader) -> None:
    start = r.pos
    head = bytes(r.data[start : min(start + 8, r.end)])
    if head[:4] != MAGIC[: len(head)]:
        r.fail("magic header not detected: bad magic number")
    if len(head) < 8:
        r.fail("unexpected end-of-file", r.end)
    version = head[4:]
    if version == MODULE_VERSION:
        r.fail("expected a version header for a component", start + 4)
    if version != COMPONENT_VERSION:
        shown = int.from_bytes(version[:2], "little")
        r.fail(f"unknown binary version and encoding combination: 0x{shown:x}", start + 4)
    r.pos = start + 8


def _component(r: Reader, features: Features, depth: int) -> Component:
    start = r.pos
    if depth >= MAX_NESTING:
        raise ValidationError(f"components are nested more than {MAX_NESTING} deep", start)
    _preamble(r)
    items: list[Item] = []
    customs: list[tuple[str, int, int]] = []
    names = Names()
    while r.pos < r.end:
        id_offset = r.pos
        section = r.u8()
        if section != 0 and section not in _SECTIONS and section not in (1, 4, 9):
            r.fail(f"malformed section id: {section}", id_offset)
        body = r.sub(r.u32())
        if section == 0:
            name = body.name()
            customs.append((name, body.pos, body.end))
            if name == "component-name":
                names = read_names(body, names)
            continue
        items.extend(_section(section, body, features, depth, id_offset))
        if len(items) > MAX_DEFINITIONS:
            raise ValidationError(f"more than {MAX_DEFINITIONS} definitions", id_offset)
        if body.pos != body.end:
            body.fail("section size mismatch: unexpected data at the end of the section")
    return Component(r.data, start, r.end, features, tuple(items), tuple(customs), names)


def _section(section: int, body: Reader, features: Features, depth: int, id_offset: int) -> Iterator[Item]:
    if section == 1:
        start, body.pos = body.pos, body.end
        yield CoreModule(id_offset, start, body.end)
    elif section == 4:
        yield Nested(id_offset, _component(body, features, depth + 1))
    elif section == 9:
        require(features, "values", "the start section", id_offset)
        yield _start(body)
    else:
        item, feature, what = _SECTIONS[section]
        if feature is not None:
            require(features, feature, what, id_offset)
        yield from body.vec(lambda: item(body, features, depth + 1), MAX_DEFINITIONS, what)


# ---- instances ----


def _core_instance(r: Reader, features: Features, depth: int) -> Item:
    start = r.pos
    match r.u8():
        case 0x00:
            module = r.u32()
            return CoreInstantiate(start, module, r.vec(lambda: _core_arg(r), MAX_ARGS, "core instantiation args"))
        case 0x01:
            return CoreBag(start, r.vec(lambda: _core_inline_export(r), MAX_ARGS, "core instance exports"))
        case byte:
            r.leading(byte, "core instance")


def _core_arg(r: Reader) -> tuple[str, int, int]:
    start = r.pos
    name = r.name()
    sort = r.u8()
    if sort != 0x12:
        r.leading(sort, "instantiation arg kind")
    return name, r.u32(), start


def _core_inline_export(r: Reader) -> tuple[str, Sort, int, int]:
    start = r.pos
    name = r.name()
    byte = r.u8()
    sort = CORE_SORTS.get(byte)
    if sort is None:
        r.leading(byte, "external kind")
    if byte > 0x04:
        raise ValidationError(f"a core instance cannot export a {sort}", start)
    return name, sort, r.u32(), start


def _instance(r: Reader, features: Features, depth: int) -> Item:
    start = r.pos
    match r.u8():
        case 0x00:
            component = r.u32()
            return Instantiate(start, component, r.vec(lambda: _arg(r, features), MAX_ARGS, "instantiation args"))
        case 0x01:
            return InstanceBag(start, r.vec(lambda: _inline_export(r, features), MAX_ARGS, "instance exports"))
        case byte:
            r.leading(byte, "instance")


def _sortidx(r: Reader, features: Features) -> tuple[Sort, int]:
    start = r.pos
    sort = read_sort(r, "component external kind")
    if sort is Sort.VALUE:
        require(features, "values", "the `value` sort", start)
    elif sort is not Sort.CORE_MODULE and sort.name.startswith("CORE_"):
        raise ValidationError(f"a {sort} cannot be given to or taken from a component", start)
    return sort, r.u32()


def _arg(r: Reader, features: Features) -> tuple[str, Sort, int, int]:
    start = r.pos
    name = r.name()
    return name, *_sortidx(r, features), start


def _inline_export(r: Reader, features: Features) -> tuple[ExternName, Sort, int, int]:
    start = r.pos
    name = read_extern_name(r, features)
    return name, *_sortidx(r, features), start


# ---- the other sections ----


def _core_type(r: Reader, features: Features, depth: int) -> Item:
    return read_core_type(r)


def _alias(r: Reader, features: Features, depth: int) -> AliasExport | AliasOuter:
    return read_alias(r, features)


def _type(r: Reader, features: Features, depth: int) -> Item:
    return TypeDef(r.pos, read_type(r, features, depth))


def _canon(r: Reader, features: Features, depth: int) -> Item:
    return read_canon(r, features)


def _start(r: Reader) -> Start:
    return Start(r.pos, r.u32(), r.vec(r.u32, MAX_ARGS, "start function args"), r.u32())


def _import(r: Reader, features: Features, depth: int) -> Item:
    start = r.pos
    name = read_extern_name(r, features)
    return Import(start, name, read_extern(r, features))


def _export(r: Reader, features: Features, depth: int) -> Item:
    start = r.pos
    name = read_extern_name(r, features)
    sort, index = _sortidx(r, features)
    ascribed = r.u8()
    if ascribed > 1:
        r.leading(ascribed, "optional component export type")
    return Export(start, name, sort, index, read_extern(r, features) if ascribed else None)


def _value(r: Reader, features: Features, depth: int) -> Item:
    start = r.pos
    val = read_valtype(r, features)
    size = r.u32()
    body = r.sub(size)
    return ValueDef(start, val, body.pos, body.end)


_Item = Callable[[Reader, Features, int], Item]
# Sections that are a vector of items: reader, feature, name. 0 is custom; 1, 4 and 9 are no vectors.
_SECTIONS: dict[int, tuple[_Item, str | None, str]] = {
    2: (_core_instance, None, "core instance section"),
    3: (_core_type, None, "core type section"),
    5: (_instance, None, "instance section"),
    6: (_alias, None, "alias section"),
    7: (_type, None, "type section"),
    8: (_canon, None, "canonical section"),
    10: (_import, None, "import section"),
    11: (_export, None, "export section"),
    12: (_value, "values", "the value section"),
}
