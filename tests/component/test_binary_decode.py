"""Decoding of components: what is malformed, where, and what is kept."""

from __future__ import annotations

import attrs
import pytest

from component_rt.binary import decode_component, is_component, syntax
from component_rt.features import Features
from component_rt.model import Sort
from component_rt.types import STRING, U8, U32
from core_rt.errors import DecodeError, ValidationError
from tests.component.component_wat import PREAMBLE, component, decode
from tests.core.wasmbytes import leb, name, section, vec

TYPE, CANON, IMPORT, EXPORT, START, VALUE, ALIAS, INSTANCE, NESTED = 7, 8, 10, 11, 9, 12, 6, 5, 4


def refused(data: bytes, message: str, offset: int | None = None, features: Features | None = None) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_component(data, features or Features.all())
    assert message in caught.value.message
    if offset is not None:
        assert caught.value.offset == offset


def test_empty_component():
    made = decode(PREAMBLE)
    assert made.items == ()
    assert (made.start, made.end) == (0, 8)


@pytest.mark.parametrize("size", range(8))
def test_preamble_cut_short(size):
    refused(PREAMBLE[:size], "unexpected end-of-file")


def test_core_module_is_no_component():
    module = b"\x00asm\x01\x00\x00\x00"
    refused(module, "expected a version header for a component", 4)
    assert not is_component(module)
    assert is_component(PREAMBLE)


def test_other_versions():
    refused(b"\x00asm\x0c\x00\x01\x00", "unknown binary version", 4)
    refused(b"\x00ASM\x0d\x00\x01\x00", "bad magic number", 0)


@pytest.mark.parametrize("id_", [13, 0x3C, 0xFF])
def test_unknown_section(id_):
    refused(PREAMBLE + bytes([id_, 0]), f"malformed section id: {id_}", 8)


def test_section_longer_than_file():
    refused(PREAMBLE + b"\x07\x05\x00", "unexpected end-of-file", 11)


def test_bytes_left_in_section():
    refused(component((TYPE, b"\x00\x00")), "unexpected data at the end of the section", 11)


def test_counts_are_checked_before_anything_is_made():
    refused(component((TYPE, leb(0xFFFFFFFF))), "unexpected end-of-file")


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"\x81\x80\x80\x80\x70", "integer too large"),
        (b"\x81\x80\x80\x80\x80\x00", "integer representation too long"),
    ],
)
def test_overlong_u32(encoded, message):
    refused(PREAMBLE + b"\x07" + encoded + b"\x00", message, 9)


def test_padded_u32_is_fine():
    assert decode(PREAMBLE + b"\x07\x81\x80\x80\x80\x00\x00").items == ()


def test_names_are_utf8():
    refused(component((IMPORT, b"\x01\x00\x02\xff\xfe\x01\x00")), "malformed UTF-8 encoding", 13)
    # Surrogates have no UTF-8 form.
    refused(component((IMPORT, b"\x01\x00\x03\xed\xa0\x80\x01\x00")), "malformed UTF-8 encoding")


def test_type_indices_and_primitives():
    made = decode(component((TYPE, vec([b"\x73", b"\x70\x00", b"\x70\x7d", b"\x70\xc0\x00"]))))
    kinds = [(item.expr.kind, item.expr.parts) for item in made.items]
    assert kinds == [("prim", (STRING,)), ("list", (0,)), ("list", (U8,)), ("list", (64,))]


def test_negative_type_index():
    refused(component((TYPE, b"\x01\x70\x40")), "invalid leading byte (0x40) for component value type")


def test_offsets_are_absolute_in_nested_components():
    inner = component((TYPE, b"\x01\x62"))
    data = component((NESTED, inner))
    refused(data, "invalid leading byte (0x62) for component defined type", data.index(b"\x62"))
    nested = decode(component((NESTED, component((TYPE, b"\x01\x79"))))).items[0]
    assert isinstance(nested, syntax.Nested)
    assert nested.component.start == 10
    assert nested.component.items[0].offset == 21


def test_custom_sections_are_kept():
    made = decode(component((0, name("note") + b"abc"), (TYPE, b"\x00"), (0, name("more"))))
    assert [(n, made.data[a:b]) for n, a, b in made.customs] == [("note", b"abc"), ("more", b"")]


def test_component_names():
    sort_func = b"\x01" + vec([b"\x00" + name("f"), b"\x02" + name("g")])
    sort_core = b"\x00\x11" + vec([b"\x00" + name("m")])
    names = section(0, name("top")) + section(1, sort_func) + section(1, sort_core)
    made = decode(component((0, name("component-name") + names)))
    assert made.names.component == "top"
    assert made.names.sorts == {Sort.FUNC: {0: "f", 2: "g"}, Sort.CORE_MODULE: {0: "m"}}


def test_garbage_in_component_names_is_no_error():
    good = name("component-name") + section(0, name("top"))
    made = decode(component((0, good), (0, name("component-name") + b"\xff\xfe\x01")))
    assert made.names.component == "top"


def test_every_kind_of_item():
    made = decode(
        component(
            (2, vec([b"\x00\x03" + vec([name("a") + b"\x12\x01"]), b"\x01" + vec([name("f") + b"\x00\x07"])])),
            (INSTANCE, vec([b"\x00\x02" + vec([name("x") + b"\x01\x04"])])),
            (ALIAS, vec([b"\x01\x00\x01" + name("f"), b"\x00\x02\x01\x02" + name("mem"), b"\x03\x02\x01\x05"])),
            (START, b"\x01" + vec([b"\x02", b"\x03"]) + b"\x01"),
            (EXPORT, vec([b"\x00" + name("e") + b"\x01\x06\x01\x01\x09"])),
            (VALUE, vec([b"\x79\x01\x2a"])),
        )
    )
    instantiate, bag, inner, alias, core_alias, outer, start, export, value = made.items
    assert (instantiate.module, [arg[:2] for arg in instantiate.args]) == (3, [("a", 1)])
    assert [entry[:3] for entry in bag.exports] == [("f", Sort.CORE_FUNC, 7)]
    assert (inner.component, [arg[:3] for arg in inner.args]) == (2, [("x", Sort.FUNC, 4)])
    assert (alias.sort, alias.instance, alias.name, alias.core) == (Sort.FUNC, 1, "f", False)
    assert (core_alias.sort, core_alias.instance, core_alias.name, core_alias.core) == (
        Sort.CORE_MEMORY, 2, "mem", True,
    )  # fmt: skip
    assert (outer.sort, outer.count, outer.index) == (Sort.TYPE, 1, 5)
    assert (start.func, start.args, start.results) == (1, (2, 3), 1)
    assert (export.sort, export.index, export.type.form, export.type.index) == (Sort.FUNC, 6, "func", 9)
    assert (value.type, made.data[value.start : value.end]) == (U32, b"\x2a")


def test_canonical_definitions():
    made = decode(
        component(
            (
                CANON,
                vec(
                    [
                        b"\x00\x00\x05" + vec([b"\x02", b"\x03\x01", b"\x06", b"\x07\x08"]) + b"\x09",
                        b"\x0c\x01",
                        b"\x11\x02\x01",
                        b"\x20\x00\x03",
                        b"\x0a\x7f\x01",
                    ]
                ),
            )
        )
    )
    lift, yield_, cancel, wait, get = made.items
    options = [option[:2] for option in lift.opts.items]
    assert options == [("latin1-utf16", None), ("memory", 1), ("async", None), ("callback", 8)]
    assert (lift.name, lift.func, lift.type) == ("lift", 5, 9)
    assert (yield_.name, yield_.cancellable) == ("thread.yield", True)
    assert (cancel.name, cancel.type, cancel.is_async) == ("stream.cancel-read", 2, True)
    assert (wait.name, wait.memory) == ("waitable-set.wait", 3)
    assert (get.name, get.slot, str(get.core_val)) == ("context.get", 1, "i32")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ((CANON, b"\x01\x07"), "invalid leading byte (0x7) for canonical function"),
        ((CANON, b"\x01\x00\x01\x00\x00\x00"), "invalid leading byte (0x1) for canonical function lift"),
        ((CANON, b"\x01\x0c\x02"), "invalid boolean value"),
        ((INSTANCE, b"\x01\x02\x00\x00"), "invalid leading byte (0x2) for instance"),
        ((ALIAS, b"\x01\x06\x02\x00\x00"), "invalid leading byte (0x6) for component outer alias kind"),
        ((IMPORT, b"\x01\x03\x01a\x01\x00"), "invalid leading byte (0x3) for component name"),
        ((IMPORT, b"\x01\x00\x01x\x06\x00"), "invalid leading byte (0x6) for component external kind"),
        ((TYPE, b"\x01\x40\x00\x02\x00"), "invalid leading byte (0x2) for component function results"),
        ((3, b"\x01\x50\x01\x04\x60\x00\x00"), "invalid leading byte (0x4) for type definition"),
    ],
)
def test_leading_bytes(sections, message):
    refused(component(sections), message)


@pytest.mark.parametrize(
    ("feature", "sections"),
    [
        ("map", (TYPE, b"\x01\x63\x73\x79")),
        ("async_", (TYPE, b"\x01\x66\x01\x7d")),
        ("async_", (TYPE, b"\x01\x43\x00\x01\x00")),
        ("async_", (CANON, b"\x01\x24")),
        ("fixed_length_lists", (TYPE, b"\x01\x67\x7d\x03")),
        ("error_context", (TYPE, b"\x01\x64")),
        ("threads", (CANON, b"\x01\x26")),
        ("shared_threads", (CANON, b"\x01\x42\x00")),
        ("values", (VALUE, b"\x01\x79\x01\x2a")),
        ("implements", (IMPORT, b"\x01\x02\x01a\x01\x00\x05a:b/c\x05\x00")),
        ("external_id", (IMPORT, b"\x01\x02\x01a\x01\x02\x01x\x05\x00")),
        ("canonical_names", (IMPORT, b"\x01\x02\x07a:b/c@1\x01\x01\x02.2\x05\x00")),
    ],
)
def test_gates_name_the_feature(feature, sections):
    data = component(sections)
    decode_component(data, Features.all())
    with pytest.raises(ValidationError, match=f"needs the component feature `{feature.rstrip('_')}`"):
        decode_component(data, attrs.evolve(Features.all(), **{feature: False}))


def test_defaults_and_what_has_shipped():
    off = {name for name in Features.__annotations__ if not getattr(Features(), name)}
    assert off == {"nested_names", "shared_threads"}
    on = {name for name in Features.__annotations__ if getattr(Features.shipped(), name)}
    assert on == {"async_", "map", "implements", "external_id"}


def test_flags_of_scripts():
    features = Features.from_flags(["-W component-model-threading", "component-model-map=n", "gc", "memory64=y"])
    assert features.threads and features.memory64 and not features.map


def test_attribute_given_twice():
    twice = b"\x01\x02\x01i\x02" + b"\x00\x05a:b/x" + b"\x00\x05a:b/y" + b"\x05\x00"
    with pytest.raises(ValidationError, match="duplicate 'implements' option in name"):
        decode(component((IMPORT, twice)))


def test_nesting_is_limited():
    data = PREAMBLE
    for _ in range(500):
        data = component((NESTED, data))
    with pytest.raises(ValidationError, match="nested more than"):
        decode(data)
    type_ = b"\x42\x00"
    for _ in range(500):
        type_ = b"\x42\x01\x01" + type_
    with pytest.raises(ValidationError, match="nested more than"):
        decode(component((TYPE, b"\x01" + type_)))


def test_any_buffer_will_do():
    data = component((TYPE, b"\x01\x79"))
    for given in (bytearray(data), memoryview(data), memoryview(b"".join(bytes([b, 0]) for b in data))[::2]):
        assert len(decode_component(given).items) == 1


def test_truncation_anywhere_is_a_decode_error():
    whole = component((TYPE, vec([b"\x72\x01\x01a\x79", b"\x40\x00\x00\x00"])), (IMPORT, b"\x01\x00\x01f\x01\x01"))
    boundaries = {8, len(whole), len(component((TYPE, vec([b"\x72\x01\x01a\x79", b"\x40\x00\x00\x00"]))))}
    for size in range(len(whole)):
        if size in boundaries:
            decode(whole[:size])
        else:
            with pytest.raises(DecodeError):
                decode(whole[:size])
