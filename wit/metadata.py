"""The custom section `package-docs`: docs and gates of a package, which component types have no room for.

The layout is that of wasm-tools, so that either side reads what the other wrote: a version byte, then JSON that follows
the shape of the package and leaves out whatever is empty. (Docs on an `import` or `export` of a named interface have no
place in it and are lost.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from wit.errors import WitError
from wit.model import (
    UNGATED,
    Enum,
    Flags,
    Function,
    Gate,
    Interface,
    InterfaceItem,
    Package,
    Record,
    TypeDef,
    Variant,
    World,
    WorldItem,
)
from wit.names import is_kebab, is_semver

__all__ = ["apply_metadata", "encode_metadata"]

_VERSION = 1
_READABLE = (0, 1)

Json = dict[str, Any]
D = TypeVar("D")


# ---- model → JSON --------------------------------------------------------------------------------------------------


def encode_metadata(package: Package) -> bytes | None:
    """The content of the section, or None if the package has neither docs nor gates."""
    data = _filled(
        docs=package.docs,
        worlds=_table(package.worlds, _world),
        interfaces=_table(package.interfaces, _interface),
    )
    if not data:
        return None
    return bytes((_VERSION,)) + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _filled(**items: Any) -> Json:
    return {key: value for key, value in items.items() if value is not None and value != {}}


def _table(items: Mapping[str, D], convert: Any) -> Json:
    return _filled(**{name: convert(item) for name, item in items.items()})


def _gate(gate: Gate) -> Json | None:
    deprecated = {} if gate.deprecated is None else {"deprecated": gate.deprecated}
    if gate.unstable is not None:
        return {"unstable": {"feature": gate.unstable, **deprecated}}
    return {"stable": {"since": gate.since, **deprecated}} if gate.since is not None else None


def _function(function: Function) -> Json:
    return _filled(docs=function.docs, stability=_gate(function.gate))


def _typedef(typedef: TypeDef) -> Json:
    items = {part.name: part.docs for part in _parts(typedef) if part.docs is not None}
    return _filled(docs=typedef.docs, stability=_gate(typedef.gate), items=items)


def _interface(interface: Interface, item: InterfaceItem | None = None) -> Json:
    return _filled(
        docs=interface.docs if item is None else item.docs,
        stability=_gate(interface.gate if item is None else item.gate),
        funcs=_table(interface.functions, _function),
        types=_table(interface.types, _typedef),
    )


def _world(world: World) -> Json:
    tables: dict[str, Json] = {}
    for table, side in ((world.imports, "import"), (world.exports, "export")):
        inline, funcs = ("interfaces", "funcs") if side == "import" else ("interface_exports", "func_exports")
        for name, item in table.items():
            if isinstance(item, TypeDef):
                key, data = "types", _typedef(item)
            elif isinstance(item, Function):
                key, data = funcs, _function(item)
            elif item.interface.name is None:
                key, data = inline, _interface(item.interface, item)
            else:
                key, data = f"interface_{side}_stability", _gate(item.gate) or {}
            if data:
                tables.setdefault(key, {})[name] = data
    return _filled(docs=world.docs, stability=_gate(world.gate), **tables)


def _parts(typedef: TypeDef) -> tuple[Any, ...]:
    match typedef.kind:
        case Record(fields=parts):
            return parts
        case Variant(cases=cases):
            return cases
        case Enum(cases=labels):
            return labels
        case Flags(flags=flags):
            return flags
    return ()


# ---- JSON → model --------------------------------------------------------------------------------------------------


def apply_metadata(package: Package, data: bytes) -> None:
    """Put the docs and gates of the section into the package. What the package does not have is skipped.

    Raises `WitError` if the section is malformed.
    """
    if data[:1] not in [bytes((version,)) for version in _READABLE]:
        raise WitError("the `package-docs` section has an unknown version")
    try:
        root = _object(json.loads(data[1:].decode()))
    except (ValueError, RecursionError):
        raise WitError("the `package-docs` section is not valid JSON") from None
    package.docs = _docs(root)
    for name, entry in _entries(root, "interfaces"):
        if name in package.interfaces:
            interface = package.interfaces[name]
            interface.docs, interface.gate = _docs(entry), _read_gate(entry)
            _apply_interface(interface, entry)
    for name, entry in _entries(root, "worlds"):
        if name in package.worlds:
            _apply_world(package.worlds[name], entry)


def _apply_interface(interface: Interface, entry: Json) -> None:
    for name, data in _entries(entry, "types"):
        if name in interface.types:
            _apply_typedef(interface.types[name], data)
    for name, data in _entries(entry, "funcs"):
        if name in interface.functions:
            interface.functions[name] = _with_docs(interface.functions[name], data)


def _apply_typedef(typedef: TypeDef, data: Json) -> None:
    typedef.docs, typedef.gate = _docs(data), _read_gate(data)
    items = _object(data.get("items", {}))
    parts = tuple(attrs.evolve(part, docs=_text(items.get(part.name))) for part in _parts(typedef))
    match typedef.kind:
        case Record() | Variant() | Enum() | Flags():
            typedef.kind = typedef.kind.__class__(parts)
        case _:
            pass


def _with_docs(function: Function, data: Any) -> Function:
    if isinstance(data, str):  # in version 0 the docs were all there was
        return attrs.evolve(function, docs=data)
    entry = _object(data)
    return attrs.evolve(function, docs=_docs(entry), gate=_read_gate(entry))


def _apply_world(world: World, entry: Json) -> None:
    world.docs, world.gate = _docs(entry), _read_gate(entry)
    # In version 0 the first three tables spoke of exports too, if no import had the name.
    for key, tables in (
        ("types", (world.imports,)),
        ("interfaces", (world.imports, world.exports)),
        ("funcs", (world.imports, world.exports)),
        ("interface_exports", (world.exports,)),
        ("func_exports", (world.exports,)),
        ("interface_import_stability", (world.imports,)),
        ("interface_export_stability", (world.exports,)),
    ):
        for name, data in _entries(entry, key):
            for table in tables:
                if name in table:
                    table[name] = _world_item(table[name], data, key.endswith("_stability"))
                    break


def _world_item(item: WorldItem, data: Any, only_gate: bool) -> WorldItem:
    if isinstance(item, InterfaceItem):
        if only_gate:
            return attrs.evolve(item, gate=_read_gate({"stability": data}))
        if item.interface.name is None:
            _apply_interface(item.interface, _object(data))
            return attrs.evolve(item, docs=_docs(data), gate=_read_gate(data))
    elif isinstance(item, Function):
        return _with_docs(item, data)
    else:
        _apply_typedef(item, _object(data))
    return item


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise WitError("the `package-docs` section does not have the shape of a package")
    return value


def _entries(entry: Json, key: str) -> list[tuple[str, Any]]:
    table = _object(entry.get(key, {}))
    wanted = dict if not key.startswith("func") else (dict, str)
    if not all(isinstance(value, wanted) for value in table.values()):
        raise WitError("the `package-docs` section does not have the shape of a package")
    return list(table.items())


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _docs(entry: Json) -> str | None:
    return _text(entry.get("docs"))


def _read_gate(entry: Json) -> Gate:
    stability = entry.get("stability")
    if not isinstance(stability, dict):
        return UNGATED
    stable, unstable = stability.get("stable"), stability.get("unstable")
    body = stable if isinstance(stable, dict) else unstable if isinstance(unstable, dict) else {}
    since, feature, deprecated = (_text(body.get(key)) for key in ("since", "feature", "deprecated"))
    if since is not None and is_semver(since):
        feature = None
    elif feature is not None and is_kebab(feature):
        since = None
    else:
        return UNGATED
    return Gate(since, feature, deprecated if deprecated is not None and is_semver(deprecated) else None)
