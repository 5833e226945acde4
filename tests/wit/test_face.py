"""What the package offers at its face: loading, looking up, errors, the model's constructors."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import wit
import wit.model as m
from core_rt.errors import WasmError
from wit.structure import structure
from wit.walk import type_text

TEXT = """package local:demo@1.0.0;
interface a { type t = u8; f: func(); }
interface b { use a.{t}; }
world one { import b; }
world two { export a; }
"""


def test_examples_in_the_docs() -> None:
    for module in (wit, m):
        assert doctest.testmod(module).failed == 0


def test_paths_and_texts(tmp_path: Path) -> None:
    (tmp_path / "wit").mkdir()
    (tmp_path / "wit" / "a.wit").write_text(TEXT)
    document = wit.parse(TEXT)
    assert wit.parse(tmp_path / "wit") == document
    assert wit.parse(tmp_path / "wit" / "a.wit") == document
    assert wit.load(str(tmp_path / "wit")) == document
    assert wit.parse(str(tmp_path / "wit")) == document


def test_everything_prints_as_wit() -> None:
    document = wit.parse(TEXT)
    assert str(document) == str(document.root) == wit.to_text(document).rstrip("\n")
    assert str(document.world("one")) == "world one {\n  import a;\n  import b;\n}"
    assert str(document.interface("b")) == "interface b {\n  use a.{t};\n}"
    assert str(document.interface("a").types["t"]) == "type t = u8;"


def test_binary_dependencies(tmp_path: Path) -> None:
    dependency = "package dep:one@1.0.0; interface i { @since(version = 1.0.0) type t = u8; f: func(); }"
    (tmp_path / "deps").mkdir()
    (tmp_path / "deps" / "one.wasm").write_bytes(wit.encode(wit.parse(dependency)))
    (tmp_path / "my.wit").write_text("package my:mine; interface j { use dep:one/i@1.0.0.{t}; }")
    document = wit.load(tmp_path)
    assert document.packages["dep:one@1.0.0"] == wit.parse(dependency).root
    (tmp_path / "deps" / "one.wasm").write_bytes(b"no wasm")
    with pytest.raises(wit.WitError, match="not a component binary"):
        wit.load(tmp_path)


def test_further_roots(tmp_path: Path) -> None:
    (tmp_path / "deps.wit").write_text("package dep:one; interface i { type t = u8; }")
    (tmp_path / "my.wit").write_text("package my:mine; interface j { use dep:one/i.{t}; }")
    document = wit.load(tmp_path / "my.wit", tmp_path / "deps.wit")
    assert document.root.id == "my:mine"
    with pytest.raises(wit.WitError, match="`dep:one` is not found"):
        wit.load(tmp_path / "my.wit")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"package a:b;\xc3("])
def test_no_utf8(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wit").write_bytes(content)
    with pytest.raises(wit.WitError, match="not valid UTF-8"):
        wit.load(tmp_path / "a.wit")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(wit.WitError, match="cannot read"):
        wit.load(tmp_path / "none.wit")
    with pytest.raises(wit.WitError, match=r"no `\*.wit` files"):
        wit.load(tmp_path)


def test_worlds_are_selected() -> None:
    document = wit.parse(TEXT)
    assert document.world("one").id == "local:demo/one@1.0.0"
    assert document.world("local:demo/two@1.0.0").name == "two"
    assert wit.parse("package a:b; world w {}").world().name == "w"
    for name, message in [
        (None, "several worlds, name one of: one, two"),
        ("tow", "did you mean `two`"),
        ("local:demo/two", "no package `local:demo`"),
        ("a:b/", "not a valid interface name"),
    ]:
        with pytest.raises(wit.WitError, match=message):
            document.world(name)
    with pytest.raises(wit.WitError, match="has no world"):
        wit.parse("package a:b;").world()


def test_interfaces_are_looked_up() -> None:
    document = wit.parse(TEXT)
    assert document.interface("a") is document.interface("local:demo/a@1.0.0") is document.root.interfaces["a"]
    with pytest.raises(wit.WitError, match="no interface `c`"):
        document.interface("c")


def test_errors_are_of_the_family_and_tell_the_place() -> None:
    with pytest.raises(WasmError) as caught:
        wit.parse("package a:b;\n\ninterface a { f: func(x: u33); }")
    error = caught.value
    assert isinstance(error, wit.WitError)
    assert error.span is not None
    assert (error.span.line, error.span.column, error.span.text) == (3, 26, "u33")
    assert str(error).splitlines()[0] == "<text>:3:26: type `u33` is not defined"


def test_errors_in_long_lines_show_the_part_that_matters() -> None:
    with pytest.raises(wit.WitError) as caught:
        wit.parse("package a:b; interface a { " + "type t = u8; " * 2 + "x" * 100_000)
    assert len(str(caught.value)) < 1000


def test_types_keep_their_identity_through_use() -> None:
    document = wit.parse(TEXT)
    a, b = document.interface("a"), document.interface("b")
    assert b.types["t"].definition is a.types["t"]
    assert b.types["t"].used_from is a
    assert a.types["t"].used_from is None


def test_models_compare_by_content() -> None:
    assert wit.parse(TEXT).root == wit.parse(TEXT).root
    assert hash(wit.parse(TEXT)) == hash(wit.parse(TEXT))
    assert wit.parse(TEXT) != wit.parse(TEXT.replace("u8", "u16"))
    first, second = wit.parse(TEXT).world("one"), wit.parse(TEXT).world("one")
    assert first != second
    assert structure(first) == structure(second)


def test_a_model_built_by_hand_prints() -> None:
    blob = m.TypeDef("blob", m.Resource())
    interface = m.Interface("store", {"blob": blob})
    interface.add_function(m.Function("blob", (), m.OwnType(blob), kind="constructor", resource=blob))
    read = (m.Param("self", m.BorrowType(blob)), m.Param("n", m.Prim.U32))
    interface.add_function(m.Function("read", read, m.ListType(m.Prim.U8), kind="method", resource=blob))
    package = m.Package("my", "pkg", "1.0.0", {"store": interface})
    world = m.World("w")
    world.add_import(m.InterfaceItem(interface))
    package.add(world)
    text = wit.to_text(package)
    assert wit.parse(text).root == package
    assert wit.to_text(interface) == (
        "interface store {\n  resource blob {\n    constructor();\n    read: func(n: u32) -> list<u8>;\n  }\n}\n"
    )
    assert wit.to_text(interface.functions["[method]blob.read"]) == "read: func(n: u32) -> list<u8>;\n"
    assert wit.to_text(world) == "world w {\n  import store;\n}\n"
    assert wit.to_text(blob) == "resource blob {\n  constructor();\n  read: func(n: u32) -> list<u8>;\n}\n"
    assert type_text(m.ResultType(None, m.MapType(m.Prim.CHAR, m.StreamType()))) == "result<_, map<char, stream>>"


def test_reprs_are_short() -> None:
    document = wit.parse(TEXT)
    everything = [
        document,
        document.root,
        document.world("one"),
        document.interface("a"),
        document.interface("b").types["t"],
    ]
    assert [repr(item) for item in everything] == [
        "<Resolve local:demo@1.0.0 of 1>",
        "<Package local:demo@1.0.0>",
        "<World local:demo/one@1.0.0>",
        "<Interface local:demo/a@1.0.0>",
        "<TypeDef local:demo/b@1.0.0#t>",
    ]


def test_importing_it_is_cheap() -> None:
    """No event loop and no component runtime come along. (The errors' root is in `core_rt`, which loads what it likes.)"""
    code = "import sys, wit; print(sorted({'trio', 'component_rt'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
