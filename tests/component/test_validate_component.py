"""Validation of components: what the planner is told, and rules that no suite script covers."""

from __future__ import annotations

import time

import attrs
import pytest

from component_rt import model
from component_rt.features import Features
from component_rt.model import Sort
from component_rt.types import STRING, U32, BorrowType, FuncType, InstanceType, OwnType, ResourceType, TypeBound
from core_rt.errors import DecodeError, ValidationError
from tests.component.component_wat import ALL, PREAMBLE, component, decode, encode, validate
from tests.core.wasmbytes import leb, name, vec


def refused(source: str | bytes, message: str, features: Features = ALL) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        validate(source, features)
    assert message in caught.value.message
    assert caught.value.offset is not None
    return caught.value


def find(made: model.ValidatedComponent, kind: type) -> list:
    return [d for d in made.definitions if isinstance(d, kind)]


# ---- records for the planner ----


def test_definitions_fill_the_index_spaces_in_order():
    made = validate("""(component
      (import "log" (func $log (param "s" string)))
      (core module $m
        (memory (export "mem") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "f") (param i32) (result i32) unreachable))
      (core instance $i (instantiate $m))
      (core func $low (canon lower (func $log) (memory (core memory $i "mem")) (realloc (core func $i "realloc"))))
      (core instance (export "low" (func $low)))
      (type $r (resource (rep i32)))
      (export $r' "r" (type $r))
      (func $f (param "x" u32) (result (own $r')) (canon lift (core func $i "f")))
      (export "f" (func $f)))""")
    counts = dict.fromkeys(Sort, 0)
    for definition in made.definitions:
        if definition.defines is not None:
            counts[definition.defines] += 1
    assert counts == {sort: len(space) for sort, space in made.spaces.items()}
    (lower,) = find(made, model.CanonLower)
    assert str(lower.core_type) == "[i32 i32] -> []"
    assert (lower.options.memory, lower.options.realloc, lower.options.string_encoding) == (0, 0, "utf8")
    (lift,) = find(made, model.CanonLift)
    assert lift.type == FuncType([("x", U32)], OwnType(made.spaces[Sort.TYPE][1]))
    assert made.spaces[Sort.FUNC][0].params == (("s", STRING),)
    assert list(made.imports) == ["log"] and list(made.exports) == ["r", "f"]
    (resource,) = find(made, model.ResourceDef)
    assert made.type.defined == (resource.id,) and made.type.imported == ()


def test_core_modules_are_slices():
    data = encode('(component (core module (func (export "f"))))')
    (module,) = find(validate(data), model.CoreModuleDef)
    assert data[module.start : module.start + 8] == b"\x00asm\x01\x00\x00\x00"
    assert list(module.type.exports) == ["f"]


def test_imported_resources_have_paths():
    made = validate("""(component
      (import "r" (type (sub resource)))
      (import "i" (instance (export "a" (type (sub resource))) (export "b" (type (sub resource))))))""")
    root, instance = find(made, model.Import)
    assert [path for _, path in root.resources] == [()]
    assert [path for _, path in instance.resources] == [("a",), ("b",)]
    ids = [id_ for import_ in (root, instance) for id_, _ in import_.resources]
    assert tuple(ids) == made.type.imported and len(set(ids)) == 3


def test_each_instantiation_makes_resources_anew():
    made = validate("""(component
      (component $c (type $r (resource (rep i32))) (export "r" (type $r)))
      (instance $a (instantiate $c))
      (instance $b (instantiate $c)))""")
    first, second = find(made, model.Instantiate)
    assert [path for _, path in first.resources] == [("r",)]
    assert first.resources[0][0] is not second.resources[0][0]
    inner = find(made, model.ComponentDef)[0].component
    assert first.resources[0][0] not in inner.type.defined


def test_given_resources_are_substituted():
    made = validate("""(component
      (import "r" (type $r (sub resource)))
      (component $c
        (import "x" (type $x (sub resource)))
        (export $y "y" (type $x))
        (import "f" (func (param "a" (borrow $x)))))
      (import "f" (func $f (param "a" (borrow $r))))
      (instance $i (instantiate $c (with "x" (type $r)) (with "f" (func $f)) (with "more" (func $f)))))""")
    (instance,) = find(made, model.Instantiate)
    assert instance.resources == ()
    assert instance.type.exports["y"].t == made.spaces[Sort.TYPE][0]
    assert [arg[0] for arg in instance.args] == ["x", "f"]


def test_ascription_hides_a_resource():
    made = validate("""(component
      (component $c
        (type $r (resource (rep i32)))
        (export $a "a" (type $r))
        (export $b "b" (type $r) (type (sub resource)))))""")
    inner = find(made, model.ComponentDef)[0].component
    plain, hidden = find(inner, model.Export)
    assert plain.resources == () and plain.type.sub
    assert [path for _, path in hidden.resources] == [()]
    assert plain.type.t != hidden.type.t
    assert len(inner.type.defined) == 2


def test_second_export_of_a_resource_is_equal_to_the_first():
    made = validate("""(component
      (type $r (resource (rep i32)))
      (export "a" (type $r))
      (export "b" (type $r)))""")
    first, second = made.exports["a"], made.exports["b"]
    assert isinstance(first, TypeBound) and first.sub and not second.sub and first.t == second.t


def test_types_keep_the_name_they_are_exported_under():
    made = validate("""(component
      (import "i" (instance $i
        (type $p (record (field "x" u32)))
        (export "point" (type $p' (eq $p)))
        (type $u32 u32)
        (export "size" (type $size (eq $u32)))
        (export "f" (func (param "p" $p') (param "n" $size) (result (list $p')))))))""")
    exports = made.imports["i"].exports
    func = exports["f"]
    assert str(func) == "func(p: point, n: size) -> list<point>"
    assert func.params[0][1].name is exports["point"].t.name
    assert func == FuncType([("p", exports["point"].t.canonical), ("n", U32)], func.result)


def test_attributes_are_kept_and_ignored_by_types():
    made = validate('(component (import "a" (implements "x:y/z") (external-id "id") (instance)))')
    assert made.type.import_attributes["a"].implements == "x:y/z"
    assert made.type.import_attributes["a"].external_id == "id"
    (import_,) = find(made, model.Import)
    assert import_.attributes.external_id == "id"


def test_canonical_builtins():
    made = validate("""(component
      (core module $m (memory (export "mem") 1))
      (core instance $i (instantiate $m))
      (alias core export $i "mem" (core memory $mem))
      (type $s (stream u8))
      (type $r (resource (rep i32)))
      (core func (canon stream.new $s))
      (core func (canon stream.read $s async (memory $mem)))
      (core func (canon resource.rep $r))
      (core func (canon waitable-set.wait (memory $mem)))
      (core func (canon task.return (result u64)))
      (core func (canon context.set i32 1)))""")
    builtins = find(made, model.CanonBuiltin)
    assert [(b.name, str(b.core_type)) for b in builtins] == [
        ("stream.new", "[] -> [i64]"),
        ("stream.read", "[i32 i32 i32] -> [i32]"),
        ("resource.rep", "[i32] -> [i32]"),
        ("waitable-set.wait", "[i32 i32] -> [i32]"),
        ("task.return", "[i64] -> []"),
        ("context.set", "[i32] -> []"),
    ]
    assert builtins[1].options.is_async and builtins[1].options.memory == 0
    assert isinstance(builtins[2].type, ResourceType) and builtins[3].options.memory == 0
    assert builtins[5].slot == 1


def test_offsets_point_at_the_definition():
    data = component((7, vec([b"\x79", b"\x70\x05"])))
    assert refused(data, "type index out of bounds").offset == data.index(b"\x70\x05")


def test_errors_in_core_modules_have_offsets_in_the_file():
    data = encode("(component (core module) (core module (func i32.add)))")
    validate(data)  # bodies are looked at when they are compiled
    with pytest.raises(ValidationError, match="type mismatch") as caught:
        validate(data, bodies=True)
    assert data.rindex(b"\x00asm") < caught.value.offset < len(data)
    with pytest.raises(DecodeError) as malformed:
        validate(component((1, b"\x00asm\x01\x00\x00\x00\x0e\x00")))
    assert malformed.value.offset is not None and malformed.value.offset >= 18


# ---- rules ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(type (map f32 u8))", "invalid map key type"),
        ("(type (list u8 0))", "greater than zero"),
        ("(type $r (resource (rep i32))) (type (stream (borrow $r)))", "cannot contain a `borrow`"),
        ("(type $r (resource (rep i32))) (type (future (option (borrow $r))))", "cannot contain a `borrow`"),
        ("(type $r (resource (rep i32))) (core func (canon task.return (result (borrow $r))))", "`borrow`"),
        ("(type $r (resource (rep i32))) (import \"a\" (type (eq $r)))", "local resource type found in imports"),
        ("(type $t u32) (core func (canon stream.new $t))", "requires a stream type"),
        ("(core func (canon context.get i32 2))", "zero or one"),
        ("(core func (canon context.get i32 0)) (core func (canon context.get i64 0))", "must have the same type"),
        ("(type $f (func async)) (import \"f\" (func $f (type $f)))"
         "(core func (canon lower (func $f) async async))", "specified more than once"),
        ("(import \"f\" (func $f)) (export \"g\" (func $f) (func async))", "expected async function, found sync"),
        ("(import \"a\" (func)) (import \"[method]a.b\" (func (param \"self\" u32)))", "`(borrow $T)`"),
        ("(import \"a:b/c@01.0.0\" (func))", "invalid leading zero"),
        ("(import \"a:b:c/d\" (func)) (import \"a:b:c/D\" (func))", "conflicts with previous name"),
    ],
)  # fmt: skip
def test_rules(text, message):
    refused(f"(component {text})", message)


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("stackful", '(core module $m (func (export "f"))) (core instance $i (instantiate $m))'
                     '(func async (canon lift (core func $i "f") async))'),
        ("more_async_builtins", "(core func (canon subtask.cancel async))"),
        ("more_async_builtins", "(type $s (stream)) (core func (canon stream.read $s))"),
        ("memory64", "(type (resource (rep i64)))"),
        ("nested_names", '(import "a:b:c/d" (func))'),
    ],
)  # fmt: skip
def test_gates_of_validation(feature, text):
    source = f"(component {text})"
    validate(source)
    with pytest.raises(ValidationError):
        validate(source, attrs.evolve(ALL, **{feature: False}))


def _named(extern_name: str, attributes: bytes, instance: bool = True) -> bytes:
    """A component that imports one empty instance (or function) under a name with attributes."""
    type_ = b"\x01\x42\x00" if instance else b"\x01\x40\x00\x01\x00"
    return component(
        (7, type_), (10, b"\x01\x02" + name(extern_name) + attributes + (b"\x05\x00" if instance else b"\x01\x00"))
    )


@pytest.mark.parametrize(
    ("version", "suffix", "ok"),
    [
        ("1", ".2.3", True),
        ("0.2", ".6-rc.1", True),
        ("0.0.1", "-alpha", True),
        ("1", ".2", False),
        ("1", "", False),
        ("0.2", "7.1", False),
        ("1.2.3", "", False),
    ],
)
def test_version_suffix(version, suffix, ok):
    data = _named(f"a:b/c@{version}", b"\x01\x01" + name(suffix))
    if ok:
        assert validate(data).type.import_attributes[f"a:b/c@{version}"].version_suffix == suffix
    else:
        refused(data, "valid")


def test_canonical_names_are_gated():
    data = _named("a:b/c@1", b"\x00")
    validate(data)
    refused(data, "not a valid semver", Features.shipped())


def test_memory64_options():
    source = """(component
      (import "f" (func $f (param "s" string) (result string)))
      (core module $m
        (memory (export "mem") i64 1)
        (func (export "realloc") (param i64 i64 i64 i64) (result i64) unreachable))
      (core instance $i (instantiate $m))
      (core func (canon lower (func $f) (memory (core memory $i "mem")) (realloc (core func $i "realloc")))))"""
    (lower,) = find(validate(source), model.CanonLower)
    assert str(lower.core_type) == "[i64 i64 i64] -> []" and lower.options.memory64
    refused(source, "memory64", attrs.evolve(ALL, memory64=False))


def test_shared_memory_is_no_canonical_memory():
    refused(
        """(component
      (import "f" (func $f (param "s" string)))
      (core module $m (memory (export "mem") 1 1 shared))
      (core instance $i (instantiate $m))
      (core func (canon lower (func $f) (memory (core memory $i "mem")))))""",
        "must match `(memory 0)`",
    )


# ---- values and start functions ----


def values(*definitions: bytes, rest: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    return component((12, vec(definitions)), *rest)


def exported(count: int) -> tuple[tuple[int, bytes], ...]:
    return ((11, vec([b"\x00" + name(f"v{i}") + b"\x02" + leb(i) + b"\x00" for i in range(count)])),)


def test_values_are_decoded():
    definitions = [b"\x7f\x01\x01", b"\x7e\x01\xff", b"\x7a\x01\x7f", b"\x73\x04\x03abc", b"\x74\x03\xe2\x82\xac",
                   b"\x76\x04\x00\x00\xc0\x3f", b"\x77\x03\x80\x80\x01"]  # fmt: skip
    made = validate(values(*definitions, rest=exported(7)))
    assert [d.value for d in find(made, model.ValueDef)] == [True, -1, -1, "abc", "€", 1.5, 1 << 14]


def test_compound_values():
    types = vec([b"\x72" + vec([name("a") + b"\x7f", name("b") + b"\x73"]), b"\x71" + vec([name("n") + b"\x00\x00",
            name("s") + b"\x01\x79\x00"]), b"\x70\x7d", b"\x6e" + vec([name("x"), name("y"), name("z")]),
            b"\x6d" + vec([name("e"), name("f")]), b"\x6b\x79", b"\x6a\x01\x7d\x00"])  # fmt: skip
    # Exported values have exported types: indices from 7 on.
    names = vec([b"\x00" + name(f"t{i}") + b"\x03" + leb(i) + b"\x00" for i in range(7)])
    definitions = vec([b"\x07\x03\x01\x01q", b"\x08\x02\x01\x07", b"\x09\x03\x02\x08\x09", b"\x0a\x01\x05",
                       b"\x0b\x01\x01", b"\x0c\x02\x01\x03", b"\x0d\x02\x00\x04"])  # fmt: skip
    made = validate(component((7, types), (11, names), (12, definitions), *exported(7)))
    assert [d.value for d in find(made, model.ValueDef)] == [
        {"a": True, "b": "q"}, ("s", 7), [8, 9], frozenset({"x", "z"}), "f", (3,), ("ok", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (b"\x7f\x01\x02", "invalid boolean value"),
        (b"\x79\x02\x01\x01", "trailing bytes"),
        (b"\x7b\x03\x80\x80\x04", "integer too large"),
        (b"\x76\x04\x01\x00\xc0\x7f", "NaN that is not canonical"),
        (b"\x73\x02\x05a", "unexpected end-of-file"),
        (b"\x74\x03\xed\xa0\x80", "malformed UTF-8"),
    ],
)
def test_malformed_values(definition, message):
    with pytest.raises(DecodeError, match=message):
        validate(values(definition, rest=exported(1)))


def test_every_value_is_used_exactly_once():
    one = b"\x79\x01\x2a"
    refused(values(one), "was not used")
    twice = vec([b"\x00" + name("a") + b"\x02\x00\x00", b"\x00" + name("b") + b"\x02\x00\x00"])
    refused(values(one, rest=((11, twice),)), "more than once")


def test_start_functions():
    head = ((7, b"\x01\x40\x01" + name("p") + b"\x79\x00\x73"), (10, b"\x01\x00" + name("f") + b"\x01\x00"))
    value = (12, b"\x01\x79\x01\x2a")
    good = component(*head, value, (9, b"\x00\x01\x00\x01"), (11, b"\x01\x00" + name("r") + b"\x02\x01\x00"))
    made = validate(good)
    (start,) = find(made, model.Start)
    assert (start.func, start.args, start.results) == (0, (0,), (STRING,))
    refused(component(*head, value, (9, b"\x00\x00\x01")), "requires 1 arguments, given 0")
    refused(component(*head, value, (9, b"\x00\x01\x00\x00")), "has 1 results, but 0 are declared")
    wrong = (12, b"\x01\x7f\x01\x01")
    refused(component(*head, wrong, (9, b"\x00\x01\x00\x01")), "expected primitive `u32` found primitive `bool`")


# ---- subtyping under equality bounds and abstraction ----


def test_equality_bound_of_instance_types_is_not_subtyping():
    text = """(component
      (type $more (instance (export "a" (func)) (export "b" (func))))
      (component $c (type $less (instance (export "a" (func)))) (import "i" (type (eq $less))))
      (instance (instantiate $c (with "i" (type $more)))))"""
    refused(text, "unexpected export `b`")


def test_abstract_types_of_an_imported_component():
    made = validate("""(component
      (import "c" (component $c
        (import "x" (type $x (sub resource)))
        (export "y" (type $y (sub resource)))
        (export "f" (func (param "a" (own $x)) (result (own $y))))))
      (type $r (resource (rep i32)))
      (instance $i (instantiate $c (with "x" (type $r)))))""")
    (instance,) = find(made, model.Instantiate)
    func = instance.type.exports["f"]
    (made_anew,) = instance.resources
    assert func.params[0][1] == OwnType(made.spaces[Sort.TYPE][1])
    assert func.result == OwnType(ResourceType(made_anew[0]))


def test_component_arguments_are_checked_contravariantly():
    text = """(component
      (component $wants (import "c" (component (import "a" (func)) (export "r" (type (sub resource))))))
      (component $gives {gives} (type $r (resource (rep i32))) (export "r" (type $r)))
      (instance (instantiate $wants (with "c" (component $gives)))))"""
    validate(text.format(gives='(import "a" (func))'))
    validate(text.format(gives=""))
    refused(text.format(gives='(import "b" (func))'), "missing expected import `b`")
    refused(text.format(gives='(import "a" (func (param "x" u8)))'), "type mismatch in import `a`")


def test_borrowed_handles_of_two_resources_differ():
    made = validate("""(component
      (import "a" (type $a (sub resource))) (import "b" (type $b (sub resource)))
      (import "c" (type $c (eq $a))))""")
    a, b, c = made.spaces[Sort.TYPE]
    assert BorrowType(a) == BorrowType(c) != BorrowType(b)


# ---- size ----


def s33(index: int) -> bytes:
    out = b""
    while True:
        byte, index = index & 0x7F, index >> 7
        if not index and not byte & 0x40:
            return out + bytes([byte])
        out += bytes([byte | 0x80])


def quickly(data: bytes, message: str, seconds: float = 5) -> None:
    begin = time.perf_counter()
    with pytest.raises(ValidationError, match=message):
        validate(data)
    assert time.perf_counter() - begin < seconds


def test_deep_types():
    chain = [b"\x79"] + [b"\x70" + s33(i) for i in range(120)]
    validate(component((7, vec(chain[:100]))))
    quickly(component((7, vec(chain))), "type nesting is too deep")


def test_types_that_are_large_as_trees():
    chain = [b"\x79"] + [b"\x6a\x01" + s33(i) + b"\x01" + s33(i) for i in range(60)]
    quickly(component((7, vec(chain))), "effective type size")
    bags = [b"\x01\x00"] + [b"\x01" + vec([b"\x00\x01a\x05" + leb(i), b"\x00\x01b\x05" + leb(i)]) for i in range(50)]
    quickly(component((5, vec(bags))), "effective type size")


def test_nested_equality_bounds_take_linear_time():
    types = [b"\x42\x01\x04\x00\x01r\x03\x01"]
    for i in range(45):
        types.append(
            b"\x42" + vec([b"\x02\x03\x02\x01" + leb(i), b"\x04\x00\x01t\x03\x00\x00", b"\x04\x00\x01r\x03\x01"])
        )
    inner = component((7, vec(types)), (10, b"\x01\x00\x01x\x03\x00" + leb(45)))
    outer = component((7, vec(types)), (4, inner), (5, b"\x01\x00\x00" + vec([name("x") + b"\x03" + leb(45)])))
    begin = time.perf_counter()
    made = validate(outer)
    assert time.perf_counter() - begin < 5
    assert isinstance(made.spaces[Sort.TYPE][45], InstanceType)


def test_long_chains_of_exports():
    exports = [b"\x00" + name(f"t{i}") + b"\x03" + leb(i) + b"\x00" for i in range(3000)]
    made = validate(component((7, b"\x01\x72\x01\x01a\x79"), (11, vec(exports))))
    assert made.spaces[Sort.TYPE][3000] == made.spaces[Sort.TYPE][0]


def test_validation_leaves_the_input_alone():
    data = encode('(component (import "a" (func)) (core module))')
    decoded = decode(data)
    assert decoded.data is data and data.startswith(PREAMBLE)
