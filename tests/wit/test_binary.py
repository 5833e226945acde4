"""Packages through the binary format: what comes back is equal, and other tools take the bytes for valid."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import wit
from tests.wit.cases import inputs, options
from wit.model import InterfaceItem, Package
from wit.structure import structure

VALID = [p for p in inputs("cases") if p.stem != "empty"]


def without_lost_docs(package: Package) -> Package:
    """Docs on an import or export of a named interface have no place in the binary."""
    for world in package.worlds.values():
        for table in (world.imports, world.exports):
            for name, item in table.items():
                if isinstance(item, InterfaceItem) and item.interface.name is not None:
                    table[name] = InterfaceItem(item.interface, None, item.gate, item.external_id)
    return package


@pytest.fixture(scope="module")
def engine() -> Iterator[object]:
    wasmtime = pytest.importorskip("wasmtime")
    config = wasmtime.Config()
    for name in dir(config):
        if name.startswith("wasm_component_model"):
            try:
                setattr(config, name, True)
            except wasmtime.WasmtimeError:
                pass
    yield wasmtime.Engine(config)


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.stem)
def test_round_trip(path: Path) -> None:
    for package in wit.load(path, options=options(path)).packages.values():
        data = wit.encode(package)
        document = wit.decode_document(data)
        assert document.root == without_lost_docs(package)
        assert wit.encode(document) == data
        assert wit.decode(wit.encode(package, docs=False)).interfaces.keys() == package.interfaces.keys()


# What wasmtime-py cannot be told to accept: nested namespaces, lists of fixed length, error contexts.
_NEW = {"nested-names", "types", "error-context"}


@pytest.mark.parametrize("path", [p for p in VALID if p.stem not in _NEW], ids=lambda p: p.stem)
def test_wasmtime_finds_it_valid(path: Path, engine: object) -> None:
    from wasmtime import component

    for package in wit.load(path, options=options(path)).packages.values():
        component.Component(engine, wit.encode(package))


def test_the_example_of_the_specification() -> None:
    document = wit.parse("""
        package local:demo;
        interface types { resource file { read: func(off: u32, n: u32) -> list<u8>; } }
        interface namespace { use types.{file}; open: func(name: string) -> file; }
    """)
    data = wit.encode(document)
    assert data[:8] == b"\0asm\x0d\0\x01\0"
    # two types, each followed by its export, and nothing else
    sections = []
    position = 8
    while position < len(data):
        sections.append(data[position])
        size, shift, at = 0, 0, position + 1
        while True:
            byte = data[at]
            size |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if byte < 0x80:
                break
        position = at + size
    assert sections == [7, 11, 7, 11]
    for name in (b"types", b"namespace", b"local:demo/types", b"local:demo/namespace", b"[method]file.read"):
        assert name in data


def test_decoding_keeps_identities() -> None:
    document = wit.parse("""
        package local:demo;
        interface a { resource r; }
        interface b { use a.{r}; f: func(x: r); }
        interface c { use b.{r as s}; g: func(x: borrow<s>); }
    """)
    package = wit.decode(wit.encode(document))
    definition = package.interfaces["a"].types["r"]
    assert package.interfaces["c"].types["s"].definition is definition
    assert package.interfaces["b"].types["r"].kind is definition


def test_gates_and_docs_survive() -> None:
    text = """
        /// The package.
        package local:demo@1.2.0;
        /// The interface.
        @since(version = 1.0.0)
        interface a {
          /// The type.
          @since(version = 1.0.0)
          record r {
            /// The field.
            x: u32,
          }
          /// The function.
          @unstable(feature = fast)
          @deprecated(version = 1.1.0)
          f: func(x: r);
        }
    """
    document = wit.parse(text, options=wit.Options(features={"fast"}))
    package = wit.decode(wit.encode(document))
    assert package == document.root
    function = package.interfaces["a"].functions["f"]
    assert (function.docs, function.gate.unstable, function.gate.deprecated) == ("The function.", "fast", "1.1.0")


def test_empty_package_has_no_name_in_the_binary() -> None:
    with pytest.raises(wit.WitError, match="no interface or world"):
        wit.decode(wit.encode(wit.parse("package a:b;")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a component"),
        (b"\0asm\1\0\0\0", "core module"),
        (b"\0asm\x0d\0\1\0\x01\x00", "more than types"),
        (b"\0asm\x0d\0\1\0\x07", "unexpected end"),
        (b"\0asm\x0d\0\1\0\x07\xff\xff\xff\xff\x7f", "too large"),
        (b"\0asm\x0d\0\1\0\x07\x05\xff\xff\xff\xff\x0f", "out of bounds"),
    ],
)
def test_what_is_no_package(data: bytes, message: str) -> None:
    with pytest.raises(wit.WitError, match=message):
        wit.decode(data)


def test_a_small_binary_cannot_stand_for_an_enormous_type() -> None:
    """Each tuple holds the one before twice: 40 definitions, 2^40 nodes."""
    decls = [b"\x01\x70\x7d"] + [b"\x01\x6f\x02" + bytes((i, i)) for i in range(40)]
    name = b"\x00\x05a:b/c"
    instance = b"\x42" + bytes((len(decls) + 1,)) + b"".join(decls) + b"\x04\x00\x01t\x03\x00\x28"
    body = b"\x41\x02\x01" + instance + b"\x04" + name + b"\x05\x00"
    types = b"\x01" + body
    data = b"\0asm\x0d\0\1\0\x07" + _leb(len(types)) + types + b"\x0b\x07\x01\x00\x01c\x03\x00\x00"
    with pytest.raises(wit.WitError, match="too large"):
        wit.decode(data)


def test_mutated_binaries_are_refused_or_read() -> None:
    """Nothing but `WitError` comes out of bytes that were flipped, cut, repeated or exchanged."""
    seeds = [wit.encode(wit.load(path, options=options(path)).root) for path in VALID]
    rng = random.Random(7)
    outcomes = {True: 0, False: 0}
    for _ in range(4000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(8, len(data))
            match rng.randrange(5):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    data[at] ^= 1 << rng.randrange(8)
                case 2:
                    del data[at : at + rng.randint(1, 8)]
                case 3:
                    data[at:at] = data[at : at + rng.randint(1, 30)]
                case 4:
                    data[at : at + 4] = struct.pack("<I", rng.getrandbits(32))
            if len(data) <= 9:
                break
        try:
            package = wit.decode(data)
        except wit.WitError:
            outcomes[False] += 1
        else:
            wit.to_text(package)
            structure(package)
            outcomes[True] += 1
    assert min(outcomes.values()) > 20


def _leb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
