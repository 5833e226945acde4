"""Types: interning, recursion groups, subtyping, matching of imports, texts."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import attrs
import pytest

from core_rt.binary.decode import decode_module
from core_rt.errors import ValidationError
from core_rt.types import (
    ANYREF,
    EQREF,
    EXTERNREF,
    F32,
    FUNCREF,
    I8,
    I31REF,
    I32,
    I64,
    NULLREF,
    V128,
    AbsHeap,
    ArrayType,
    DefType,
    FieldType,
    FuncType,
    GlobalType,
    MemoryType,
    RefType,
    StructType,
    TableType,
    TagType,
    defaultable,
    matches_def,
    matches_extern,
    matches_func,
    matches_heap,
    matches_ref,
    matches_val,
    rec_group,
    top_of,
)
from tests.core.support import wasm


def func(params=(), results=()):
    return DefType.of(FuncType(params, results))


def struct(*fields, supers=(), final=False):
    return (final, supers, ("struct", tuple(fields)))


def test_function_types_of_equal_structure_are_one_object():
    assert func([I32, I64], [F32]) is func((I32, I64), (F32,))
    assert func([I32]) is not func([I64])
    assert func([I32]).id != func([I64]).id


def test_reference_types_are_interned():
    assert RefType(True, AbsHeap.FUNC) is FUNCREF
    f = func([I32])
    assert RefType(False, f) is RefType(False, f) is f.ref
    with pytest.raises(AttributeError):
        FUNCREF.nullable = False
    with pytest.raises(TypeError, match="heap type"):
        RefType(True, I32)


@pytest.mark.parametrize("value", [I32, V128, I8, FUNCREF, func([I32]), func([I32]).ref_null, AbsHeap.EQ])
def test_copies_and_pickles_are_the_same_object(value):
    assert copy.deepcopy(value) is value
    assert pickle.loads(pickle.dumps(value)) is value


def test_modules_share_equal_groups_whatever_their_indices():
    one = decode_module(wasm("(module (type (func)) (rec (type $a (struct (field (ref null $a))))))"))
    two = decode_module(wasm("(module (rec (type $b (struct (field (ref null $b))))) (type (func)))"))
    assert one.types[1] is two.types[0]
    assert one.types[0] is two.types[1]


def test_a_group_of_two_is_not_two_groups_of_one():
    both = decode_module(wasm("(module (rec (type (struct)) (type (struct))) (type (struct)))")).types
    assert len({id(t) for t in both}) == 3
    assert not matches_def(both[0], both[2])


def test_position_in_the_group_and_finality_are_part_of_the_identity():
    first, second = rec_group([struct((I32, True)), struct((I32, False))])
    other_second, other_first = rec_group([struct((I32, False)), struct((I32, True))])
    assert first is not other_first and second is not other_second
    assert rec_group([struct(final=True)])[0] is not rec_group([struct(final=False)])[0]


def test_members_may_mention_each_other_and_themselves():
    # member i with nullable n is written 2 * i + n
    a, b = rec_group([struct((3, True)), (True, (), ("func", (0,), (1, I32)))])
    assert isinstance(a.composite, StructType) and isinstance(b.composite, FuncType)
    assert a.composite.fields[0].storage is b.ref_null
    assert b.composite.params == (a.ref,)
    assert b.composite.results == (a.ref_null, I32)
    assert a.group is b.group and (a.index, b.index) == (0, 1)


def test_ancestors_give_constant_time_subtyping():
    root, middle, leaf = rec_group([struct(), struct((I32, False), supers=(0,)), struct((I32, False), supers=(1,))])
    assert leaf.ancestors == (root, middle, leaf) and leaf.depth == 2
    assert matches_def(leaf, root) and not matches_def(root, leaf)
    (elsewhere,) = rec_group([struct((I32, False), (I64, True), supers=(leaf,))])
    assert matches_def(elsewhere, middle)


@pytest.mark.parametrize(
    "specs",
    [
        [struct(final=True), struct(supers=(0,))],
        [struct(supers=(1,)), struct()],
        [struct(supers=(0,))],
        [struct((I32, True)), struct((I64, True), supers=(0,))],
        [struct((I32, False)), struct(supers=(0,))],
        [struct(), struct(), struct(supers=(0, 1))],
        [struct((FUNCREF, True)), struct((RefType(False, AbsHeap.FUNC), True), supers=(0,))],
        [struct(), (True, (0,), ("func", (), ()))],
    ],
    ids=["final", "later", "itself", "field", "fewer", "two", "mutable-is-invariant", "kind"],
)
def test_bad_supertypes(specs):
    with pytest.raises(ValidationError, match=r"^sub type"):
        rec_group(specs)


def test_immutable_fields_are_covariant_also_within_the_group():
    wide, narrow = rec_group([struct((ANYREF, False)), struct((1, False), supers=(0,))])
    assert matches_def(narrow, wide)


def test_subtype_chains_end():
    types = [rec_group([struct()])[0]]
    with pytest.raises(ValidationError, match="too deep"):
        for _ in range(100):
            types.append(rec_group([struct(supers=(types[-1],))])[0])
    assert len(types) == 64


def test_types_go_when_nobody_refers_to_them():
    (type_,) = rec_group([struct((I64, True), (I64, True), (I8, False), (1, True))])
    gone = weakref.ref(type_)
    old = type_.id
    del type_
    gc.collect()
    assert gone() is None
    (again,) = rec_group([struct((I64, True), (I64, True), (I8, False), (1, True))])
    assert again.id > old


def test_threads_agree_on_the_object():
    barrier = threading.Barrier(4)
    found = []

    def work():
        barrier.wait()
        for n in range(200):
            found.append((n, func([I32] * (n % 50 + 3), [I64] * (n // 50))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(n, id(t)) for n, t in found}) == 200


# ------------------------------------------------------------------------------------------------- matching


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (AbsHeap.I31, AbsHeap.EQ),
        (AbsHeap.STRUCT, AbsHeap.ANY),
        (AbsHeap.NONE, AbsHeap.ARRAY),
        (AbsHeap.NOFUNC, AbsHeap.FUNC),
        (AbsHeap.NOEXTERN, AbsHeap.EXTERN),
        (AbsHeap.NOEXN, AbsHeap.EXN),
        (rec_group([struct()])[0], AbsHeap.STRUCT),
        (rec_group([struct()])[0], AbsHeap.EQ),
        (AbsHeap.NONE, rec_group([struct()])[0]),
        (func(), AbsHeap.FUNC),
        (AbsHeap.NOFUNC, func()),
    ],
)
def test_heap_subtypes(lower, upper):
    assert matches_heap(lower, upper)
    assert not matches_heap(upper, lower)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (AbsHeap.FUNC, AbsHeap.ANY),
        (AbsHeap.EXTERN, AbsHeap.ANY),
        (AbsHeap.NONE, AbsHeap.FUNC),
        (AbsHeap.STRUCT, AbsHeap.ARRAY),
        (AbsHeap.EXN, AbsHeap.ANY),
        (func(), AbsHeap.STRUCT),
        (AbsHeap.NONE, func()),
    ],
)
def test_unrelated_heap_types(one, two):
    assert not matches_heap(one, two) and not matches_heap(two, one)


def test_references_and_values():
    assert matches_ref(RefType(False, AbsHeap.EQ), ANYREF)
    assert not matches_ref(EQREF, RefType(False, AbsHeap.ANY))
    assert matches_val(NULLREF, I31REF)
    assert not matches_val(I32, I64) and not matches_val(I32, FUNCREF) and not matches_val(FUNCREF, I32)
    assert matches_func(FuncType([ANYREF], [I31REF]), FuncType([EQREF], [EQREF]))
    assert not matches_func(FuncType([EQREF]), FuncType([ANYREF]))
    assert not matches_func(FuncType([I32]), FuncType())


def test_tops_and_defaults():
    assert top_of(AbsHeap.NONE) is AbsHeap.ANY
    assert top_of(func()) is AbsHeap.FUNC
    assert top_of(AbsHeap.NOEXN) is AbsHeap.EXN
    assert defaultable(I32) and defaultable(FUNCREF) and not defaultable(RefType(False, AbsHeap.FUNC))


SUB = rec_group([(False, (), ("func", (I32,), ())), (True, (0,), ("func", (I32,), ()))])


@pytest.mark.parametrize(
    ("actual", "wanted", "fits"),
    [
        (func([I32]), func([I32]), True),
        (func([I32]), func([I64]), False),
        (SUB[1], SUB[0], True),
        (SUB[0], SUB[1], False),
        (SUB[0], func([I32]), False),
        (func(), MemoryType(0), False),
        (MemoryType(2, 5), MemoryType(1), True),
        (MemoryType(2, 5), MemoryType(3), False),
        (MemoryType(2, 5), MemoryType(1, 4), False),
        (MemoryType(2), MemoryType(1, 9), False),
        (MemoryType(2, is64=True), MemoryType(1), False),
        (MemoryType(2, 5, shared=True), MemoryType(2, 5), False),
        (MemoryType(2, page_size_log2=0), MemoryType(1), False),
        (MemoryType(2), TableType(FUNCREF, 0), False),
        (TableType(FUNCREF, 3, 8), TableType(FUNCREF, 1, 8), True),
        (TableType(FUNCREF, 3, 8), TableType(EXTERNREF, 1, 8), False),
        (TableType(func().ref_null, 3), TableType(FUNCREF, 3), False),
        (TableType(FUNCREF, 3, is64=True), TableType(FUNCREF, 3), False),
        (GlobalType(I32), GlobalType(I32), True),
        (GlobalType(I32), GlobalType(I64), False),
        (GlobalType(I32, True), GlobalType(I32), False),
        (GlobalType(func().ref), GlobalType(FUNCREF), True),
        (GlobalType(func().ref_null, True), GlobalType(FUNCREF, True), False),
        (TagType(FuncType([I32])), TagType(FuncType([I32])), True),
        (TagType(FuncType([I32])), TagType(FuncType()), False),
        (TagType(FuncType()), func(), False),
    ],
)
def test_matching_of_imports(actual, wanted, fits):
    assert matches_extern(actual, wanted) is fits


def test_current_size_counts():
    grown = attrs.evolve(MemoryType(1, 5), min=4)
    assert matches_extern(grown, MemoryType(4, 5))


# ------------------------------------------------------------------------------------------ as the user meets them


def test_texts():
    f = func([I32, I64], [F32])
    assert str(FuncType([I32, I64], [F32])) == "[i32 i64] -> [f32]"
    assert str(f) == "(func [i32 i64] -> [f32])"
    assert str(RefType(True, f)) == f"(ref null ${f.id})"
    assert [str(t) for t in (FUNCREF, NULLREF, RefType(False, AbsHeap.EQ))] == ["funcref", "nullref", "(ref eq)"]
    assert str(StructType([FieldType(I8, True)])) == "(struct (field (mut i8)))"
    assert str(ArrayType(FieldType(I32))) == "(array i32)"
    assert str(MemoryType(1, 2, is64=True, shared=True)) == "(memory i64 1 2 shared)"
    assert str(TableType(FUNCREF, 1)) == "(table 1 funcref)"
    assert str(GlobalType(I32, True)) == "(global (mut i32))"
    assert str(TagType(FuncType([I32]))) == "(tag (param i32))"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: FuncType(["i32"]), TypeError),
        (lambda: FuncType([I8]), TypeError),
        (lambda: MemoryType(-1), ValueError),
        (lambda: MemoryType(1.5), TypeError),
        (lambda: MemoryType(min=1, max=1 << 64), ValueError),
        (lambda: TableType(I32, 1), TypeError),
        (lambda: GlobalType(I8), TypeError),
        (lambda: TagType(I32), TypeError),
        (lambda: DefType(), TypeError),
    ],
)
def test_nonsense_is_refused(make, error):
    with pytest.raises(error):
        make()
