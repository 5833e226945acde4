"""Worlds of components: what WIT text shows of a validated component."""

from __future__ import annotations

import pytest

from component_rt.world import world_of
from tests.component.component_wat import validate
from wit import model as w
from wit import parse
from wit.printer import to_text


def shown(text: str) -> str:
    """The document of a component's world; it must come back the same when parsed."""
    package = world_of(validate(text)).package
    document = to_text(package)
    assert parse(document).root == package
    return document


def test_the_world_of_a_component_is_text():
    made = world_of(validate('(component (import "a:b/c" (instance (export "f" (func)))))'))
    assert str(made) == "world root {\n  import a:b/c;\n}"
    assert "f: func();" in str(made.package)


def test_functions_and_interfaces():
    assert (
        shown("""(component
      (import "a:b/log@0.1.0" (instance (export "log" (func (param "s" string)))))
      (import "now" (func async (result u64)))
      (export "again" (func 0)))""")
        == """\
package root:component;

world root {
  import a:b/log@0.1.0;
  import now: async func() -> u64;

  export again: async func() -> u64;
}

package a:b@0.1.0 {
  interface log {
    log: func(s: string);
  }
}
"""
    )


def test_resources_and_uses():
    document = shown("""(component
      (import "a:b/types" (instance $t
        (export "blob" (type $blob (sub resource)))
        (type $p (record (field "x" u32) (field "y" (list u8))))
        (export "point" (type $p' (eq $p)))
        (type $u64 u64)
        (export "size" (type $size (eq $u64)))
        (export "[constructor]blob" (func (param "data" (list u8)) (result (own $blob))))
        (export "[method]blob.read" (func (param "self" (borrow $blob)) (param "n" $size) (result (list u8))))
        (export "[static]blob.merge" (func (param "a" (own $blob)) (param "b" (borrow $blob)) (result (own $blob))))))
      (alias export $t "blob" (type $blob))
      (alias export $t "point" (type $point))
      (import "a:b/user" (instance
        (alias outer 1 $blob (type $b))
        (export "blob" (type $b' (eq $b)))
        (alias outer 1 $point (type $p))
        (export "pixel" (type $p' (eq $p)))
        (export "f" (func (param "b" (own $b')) (result (option $p')))))))""")
    assert (
        """\
    resource blob {
      constructor(data: list<u8>);
      read: func(n: size) -> list<u8>;
      merge: static func(a: blob, b: borrow<blob>) -> blob;
    }
"""
        in document
    )
    assert "    type size = u64;\n" in document
    assert "    use types.{blob, point as pixel};\n\n    f: func(b: blob) -> option<pixel>;\n" in document


def test_uses_lead_through_instantiation():
    document = shown("""(component
      (import "a:b/types" (instance $t
        (type $e (enum "low" "high"))
        (export "level" (type (eq $e)))))
      (alias export $t "level" (type $level))
      (core module $m (func (export "f") (param i32)))
      (core instance $m (instantiate $m))
      (func $f (param "l" $level) (canon lift (core func $m "f")))
      (component $shim
        (type $e (enum "low" "high"))
        (import "import-level" (type $i (eq $e)))
        (import "import-f" (func $f (param "l" $i)))
        (export $l "level" (type $i))
        (export "f" (func $f) (func (param "l" $l))))
      (instance $s (instantiate $shim (with "import-level" (type $level)) (with "import-f" (func $f))))
      (export "a:b/api" (instance $s)))""")
    assert "  interface api {\n    use types.{level};\n\n    f: func(l: level);\n  }\n" in document


def test_plain_names_are_inline_interfaces():
    world = world_of(
        validate("""(component
      (import "one" (instance (type $r (record (field "x" u8))) (export "r" (type (eq $r)))))
      (import "two" (implements "a:b/c") (external-id "key") (instance (export "f" (func))))
      (import "a:b/c" (instance (export "f" (func)) (export "g" (func)))))""")
    )
    one, two, three = world.imports.values()
    assert isinstance(one, w.InterfaceItem) and one.interface.name is None and list(one.interface.types) == ["r"]
    assert two.interface is three.interface and two.external_id == "key"
    assert list(two.interface.functions) == ["f", "g"]


def test_types_of_the_root():
    document = shown("""(component
      (type $r (record (field "x" u8)))
      (import "rec" (type $rec (eq $r)))
      (import "res" (type $res (sub resource)))
      (import "[method]res.get" (func (param "self" (borrow $res)) (result $rec))))""")
    assert "  record rec {\n    x: u8,\n  }\n" in document
    assert "  resource res {\n    get: func() -> rec;\n  }\n" in document


@pytest.mark.parametrize(
    "text",
    [
        '(component (import "c" (component)) (import "m" (core module)))',
        '(component (import "i" (instance (export "j" (instance (export "f" (func)))))))',
        '(component (type $t (tuple u8 (result (error string)))) (export "t" (type $t)))',
        '(component (import "stream" (func (param "list" (stream u8)) (result (future)))))',
    ],
)
def test_what_wit_cannot_say_is_left_out(text):
    shown(text)
