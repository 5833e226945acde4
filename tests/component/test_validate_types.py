"""Component types as values: equality, names, resources, and the cost of large ones."""

from __future__ import annotations

import gc
import threading

import pytest

from component_rt.types import (
    BOOL,
    CHAR,
    STRING,
    U8,
    U32,
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    RecordType,
    ResourceId,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    TypeName,
    VariantType,
)
from component_rt.validate.substitute import Substitution


def point(name: str | None = None) -> RecordType:
    return RecordType([("x", U32), ("y", U32)], name=None if name is None else TypeName(name))


def test_equal_types_are_one_object():
    assert point() is point()
    assert FuncType([("a", point())], ListType(U8)) is FuncType((("a", point()),), ListType(U8))
    assert ListType(U8) is not ListType(U8, 3)
    assert ListType(U8) != ListType(U8, 3)


def test_names_do_not_count():
    a, b = point("a"), point("b")
    assert a == b == point() and hash(a) == hash(b)
    assert a is not b
    assert ListType(a) == ListType(b) and ListType(a) is not ListType(b)
    assert {ListType(a): 1}[ListType(b)] == 1
    assert ListType(a).canonical is ListType(point())
    assert (str(ListType(a)), str(ListType(point()))) == ("list<a>", "list<record { x: u32, y: u32 }>")


def test_a_primitive_may_have_a_name():
    size = U32.named(TypeName("size"))
    assert size == U32 and size is not U32 and size.kind == "u32" and str(size) == "size"


def test_specialized_types_are_types_of_their_own():
    assert TupleType([U8]) != RecordType([("0", U8)])
    assert EnumType(["a"]) != FlagsType(["a"])
    assert EnumType(["a"]) != VariantType([("a", None)])


def test_parameter_names_count():
    assert FuncType([("a", U8)]) != FuncType([("b", U8)])
    assert FuncType([("a", U8)]) != FuncType([("a", U8)], is_async=True)


def test_resources_by_identity():
    one, other = ResourceType(ResourceId("r")), ResourceType(ResourceId("r"))
    assert one != other and OwnType(one) != OwnType(other)
    assert OwnType(one) == OwnType(one.named(TypeName("alias")))
    assert TupleType([OwnType(one), OptionType(BorrowType(other))]).resources == {one.id, other.id}
    assert OptionType(BorrowType(other)).has_borrow and not OptionType(OwnType(other)).has_borrow
    assert not ListType(U8).has_resource


def test_children_and_rebuild():
    for t in (
        point(), VariantType([("a", U8), ("b", None)]), ListType(U8, 2), TupleType([U8, BOOL]), OptionType(CHAR),
        ResultType(None, U8), ResultType(U8, None), MapType(STRING, U8), StreamType(), StreamType(U8),
        FuncType([("a", U8)], U32), FuncType([("a", U8)]), EnumType(["a"]),
    ):  # fmt: skip
        assert t.rebuild(list(t.children())) is t


def test_shared_types_cost_nothing():
    t = U8
    for _ in range(80):
        t = ResultType(t, t)
    again = U8
    for _ in range(80):
        again = ResultType(again, again)
    assert t is again and hash(t) == hash(again)
    assert t.depth == 81 and t.tree_size == 1 << 40
    assert len(str(t)) < 100 and len(repr(t)) < 100
    named = U8.named(TypeName("byte"))
    for _ in range(80):
        named = ResultType(named, named)
    assert named == t and named is not t


def test_types_are_let_go():
    resource = ResourceId("gone")
    t = ListType(OwnType(ResourceType(resource)))
    from component_rt import valtypes

    def mentions() -> int:
        kept = [entry() for entry in list(valtypes._TABLE.values())]
        return sum(1 for t in kept if t is not None and resource in t.resources)

    assert mentions() == 3
    del t
    gc.collect()
    assert mentions() == 0
    assert all(entry() is not None for entry in list(valtypes._TABLE.values())), "entries go with their types"


def test_interning_is_thread_safe():
    made: list[list[object]] = []

    def build() -> None:
        made.append([RecordType([(f"f{i}", U32)]) for i in range(300)])

    threads = [threading.Thread(target=build) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in zip(*made, strict=True):
        assert len({id(t) for t in row}) == 1


def test_substitution_replaces_resources_and_keeps_the_rest():
    old, new = ResourceType(ResourceId("old")), ResourceType(ResourceId("new"))
    plain = ListType(point())
    func = FuncType([("a", OwnType(old)), ("b", plain)], OptionType(BorrowType(old)))
    made = Substitution({old.id: new}).apply(func)
    assert made == FuncType([("a", OwnType(new)), ("b", plain)], OptionType(BorrowType(new)))
    assert made.params[1][1] is plain
    assert Substitution({new.id: old}).apply(func) is func


def test_substitution_follows_origins():
    imported = TypeName("t")
    exported = TypeName("t2", imported)
    given = point("actual")
    made = Substitution(names={imported: given}).apply(ListType(point().named(exported)))
    assert made.t == given and made.t.label == "t2" and made.t.name.origin is given.name


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (ResultType(), "result"),
        (ResultType(U8), "result<u8>"),
        (ResultType(None, U8), "result<_, u8>"),
        (ListType(U8, 4), "list<u8, 4>"),
        (StreamType(), "stream"),
        (TupleType([U8, STRING]), "tuple<u8, string>"),
        (MapType(STRING, BOOL), "map<string, bool>"),
        (VariantType([("a", None), ("b", U8)]), "variant { a, b(u8) }"),
        (FuncType([("x", U8)], STRING, True), "async func(x: u8) -> string"),
    ],
)
def test_spelling(t, text):
    assert str(t) == text
