"""What functions do does not depend on whether they are interpreted, compiled, or first one and then the other."""

from __future__ import annotations

import itertools
import struct
import threading

import pytest

import core_rt
from core_rt.interpret.operations import KINDS
from core_rt.opcodes import OPCODES
from core_rt.types import I32, I64
from core_rt.vm.backtrace import Backtrace
from tests.core.support import wasm
from tests.core.tiers import TIERS, world_of
from tests.core.wasmbytes import func_type, leb, module, name, vec

CODES = {"i": b"\x7f", "I": b"\x7e", "f": b"\x7d", "F": b"\x7c"}
NUMERIC = [row for row in OPCODES if row.code in KINDS and row.params and row.results and row.immediate == "none"]
_I32 = (
    0,
    1,
    2,
    7,
    31,
    32,
    33,
    255,
    0x8000,
    0x7FFF_FFFF,
    0x8000_0000,
    0x8000_0001,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    0x5555_AAAA,
)
_I64 = (*_I32, 63, 64, 65, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1, 0x0123_4567_89AB_CDEF)
_FLOATS = (
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    -1.0,
    -0.99,
    3e9,
    -3e9,
    1e19,
    -1e19,
    2.0**31,
    -(2.0**31),
    2.0**32,
    2.0**63,
    2.0**64,
)
_F32 = (*(struct.unpack("<I", struct.pack("<f", x))[0] for x in (*_FLOATS, float("inf"), float("-inf"), 1e-45)),
        0x7FC0_0000, 0xFFC0_0000, 0x7FA0_0001, 0xFFA0_0001, 0x4EFF_FFFF, 0xCF00_0001)  # fmt: skip
_F64 = (*(struct.unpack("<Q", struct.pack("<d", x))[0] for x in (
            *_FLOATS, float("inf"), float("-inf"), 5e-324, -2147483648.9, -2147483649.0, 2147483647.9, 4294967295.9, 1e39, 3.5e-46)),
        0x7FF8 << 48, 0xFFF8 << 48, 0x7FF4_0000_0000_0001, 0xFFF4_0000_0000_0001, 0x7FEF_FFFF_FFFF_FFFF, 0x3FF0_0000_1000_0001)  # fmt: skip
EDGES = {"i": _I32, "I": _I64, "f": _F32, "F": _F64}
EXACT = ("abs", "neg", "copysign", "reinterpret")


@pytest.fixture(params=TIERS)
def world(request, monkeypatch):
    return world_of(request.param, monkeypatch)


def _encoded(code):
    return bytes([code]) if code < 0x100 else bytes([code >> 12]) + leb(code & 0xFFF)


def _every_numeric_instruction():
    """A module that exports a function for each, by its mnemonic."""
    types, bodies, exports = [], [], []
    for i, row in enumerate(NUMERIC):
        types.append(func_type(b"".join(map(CODES.__getitem__, row.params)), CODES[row.results]))
        body = b"\0" + b"".join(b"\x20" + leb(k) for k in range(len(row.params))) + _encoded(row.code) + b"\x0b"
        bodies.append(leb(len(body)) + body)
        exports.append(name(row.mnemonic) + b"\0" + leb(i))
    indices = vec(leb(i) for i in range(len(NUMERIC)))
    return module(("type", vec(types)), ("func", indices), ("export", vec(exports)), ("code", vec(bodies)))


def _outcome(function, arguments):
    try:
        return function.call_raw(list(arguments))[0]
    except core_rt.Trap as trap:
        return trap.code.name


def _is_quiet_nan(kind, raw):
    quiet = 0x7FC0_0000 if kind == "f" else 0x7FF8 << 48
    return isinstance(raw, int) and raw & quiet == quiet


def test_every_numeric_instruction(monkeypatch):
    """At the edges of its operands, bit for bit but for NaNs that arithmetic makes, which are quiet."""
    assert len(NUMERIC) > 130
    binary = _every_numeric_instruction()
    exports = {}
    for tier in ("interpreted", "quick"):
        world = world_of(tier, monkeypatch)
        instance = world.linker.instantiate(world.store, core_rt.Module(world.engine, binary))
        exports[tier] = instance.exports
        if tier == "interpreted":
            compiled = instance.module.compiled
    for row in NUMERIC:
        mine, other = exports["interpreted"][row.mnemonic], exports["quick"][row.mnemonic]
        exact = row.results not in "fF" or row.mnemonic.split(".")[1].startswith(EXACT)
        for arguments in itertools.product(*map(EDGES.__getitem__, row.params)):
            got, wanted = _outcome(mine, arguments), _outcome(other, arguments)
            if got != wanted:
                told = f"{row.mnemonic} {[hex(x) for x in arguments]}: {got}, compiled {wanted}"
                assert not exact and _is_quiet_nan(row.results, got) and _is_quiet_nan(row.results, wanted), told
    assert compiled.statistics()["quick_functions"] == 0
    assert compiled.statistics()["interpreted_functions"] == len(NUMERIC)


def test_upper_halves_are_zeros(world):
    """Narrow values that come from elsewhere, with several results and without, are widened by doing nothing."""
    world.host("many", lambda: (-1, -2.5, -3), "", "i32 f32 i32")
    world.host("one", lambda x: x, "i32", "i32")
    world.host("fill", lambda *values: None, "i64 i64 i64", "")
    exports = world.load("""(module
      (import "host" "many" (func $many (result i32 f32 i32)))
      (import "host" "one" (func $one (param i32) (result i32)))
      (import "host" "fill" (func $fill (param i64 i64 i64)))  ;; of what is handed over, every bit
      (func $compiled (result i32 i32) (loop) (i32.const -5) (i32.const -6))
      (func (export "host") (result i64 i64 i64) (local i32 f32)
        (call $fill (i64.const -1) (i64.const -1) (i64.const -1))
        (call $many) (local.set 0) (local.set 1) (i64.extend_i32_u)
        (i64.extend_i32_u (i32.reinterpret_f32 (local.get 1)))
        (i64.sub (i64.extend_i32_u (local.get 0)) (i64.extend_i32_u (call $one (i32.const -7)))))
      (func (export "native") (result i64) (local i32)
        (call $compiled) (local.set 0) (i64.extend_i32_u) (i64.sub (i64.extend_i32_u (local.get 0))))
      (func (export "param") (param i32) (result i64) (i64.extend_i32_u (local.get 0))))""")
    assert exports["host"].call_raw([]) == [0xFFFF_FFFF, 0xC020_0000, 4]
    assert exports["native"].call_raw([]) == [1]
    assert exports["param"].call_raw([-1]) == [0xFFFF_FFFF]


def test_nans_keep_their_bits_where_nothing_is_computed(world):
    exports = world.load("""(module (memory 1) (global $g (mut f32) (f32.const 0))
      (func $through (param f32) (result f32) (global.set $g (local.get 0)) (global.get $g))
      (func (export "f32") (param i32) (result i32)
        (f32.store (i32.const 3) (call $through (f32.reinterpret_i32 (local.get 0))))
        (i32.reinterpret_f32 (select (f32.load (i32.const 3)) (f32.const 0) (i32.const 1))))
      (func (export "f64") (param f64) (result i64)
        (f64.store (i32.const 3) (local.get 0)) (i64.load (i32.const 3))))""")
    assert exports["f32"].call_raw([0x7FA0_0123]) == [0x7FA0_0123]
    assert exports["f64"].call_raw([0xFFF4_0000_0000_0123]) == [0xFFF4_0000_0000_0123]


# ------------------------------------------------------------------------------------------------------- size


def test_a_thousand_parameters_and_results(world):
    """Through a call, a table and an import of another instance; and more locals, constants and words than the interpreter takes."""
    kinds = ["i32", "i64", "f32", "f64"] * 250
    params = f"(param {' '.join(kinds)}) (result {' '.join(kinds)})"
    get = " ".join(f"(local.get {i})" for i in range(1000))
    drops = "(drop)" * 999
    body = f"""(func $f (export "f") (type $t) {get})
      (func (export "direct") (param i32) (result i32)
        {" ".join(f"({kind}.const {i})" for i, kind in enumerate(kinds))} (call $f) {drops})
      (func (export "table") (param i32) (result i32)
        {" ".join(f"({kind}.const {i})" for i, kind in enumerate(kinds))} (call_indirect (type $t) (i32.const 0)) {drops})"""
    text = f"(module (type $t (func {params})) (table 1 funcref) (elem (i32.const 0) $f) {body})"
    exports = world.load(text)
    world.linker.define("m", "f", exports["f"])
    far = world.load(f"""(module (type $t (func {params})) (import "m" "f" (func $f (type $t)))
      (func (export "far") (param i32) (result i32)
        (i32.const 7) {" ".join(f"({kind}.const {i})" for i, kind in enumerate(kinds) if i)} (call $f) {drops}))""")
    assert exports["f"](*range(1000)) == tuple(range(1000))
    assert exports["direct"](1) == exports["table"](1) == 0
    assert far["far"](1) == 7


def test_more_than_an_activation_takes(world):
    many = " ".join(["i64"] * 49_999)
    sums = " ".join(f"(i64.const {i * 0x1_0001}) (i64.add)" for i in range(1, 300))
    exports = world.load(f"""(module
      (func (export "locals") (param i64) (result i64) (local {many})
        (local.set 49999 (local.get 0)) (i64.add (local.get 49999) (local.get 30000)))
      (func (export "constants") (param i64) (result i64) (local.get 0) {sums}))""")
    assert exports["locals"](-3) == -3
    assert exports["constants"](5) == 5 + 0x1_0001 * (299 * 300 // 2)


def test_large_offsets(world):
    exports = world.load("""(module (memory (export "m") 2 2)
      (func (export "load") (param i32) (result i32) (i32.load offset=65536 (local.get 0)))
      (func (export "both") (param i32 i64) (result i64) (local i64)
        (i64.store offset=65537 (local.get 0) (local.tee 2 (local.get 1)))
        (i64.add (local.get 2) (i64.load offset=65537 (local.get 0))))
      (func (export "last") (param i32) (result i32) (i32.load8_u offset=0xffffffff (local.get 0))))""")
    exports["m"].write(65536, b"\1\2\3\4")
    assert exports["load"](0) == 0x0403_0201
    assert exports["both"](65528 - 1, 21) == 42
    for name_, arguments in (
        ("load", (65533,)),
        ("load", (-1,)),
        ("both", (65528, 1)),
        ("last", (0,)),
        ("last", (-1,)),
    ):
        with pytest.raises(core_rt.Trap) as caught:
            exports[name_](*arguments)
        assert caught.value.code is core_rt.TrapCode.MEMORY_OUT_OF_BOUNDS


def test_segments_with_large_indices(world):
    segments = "".join(f'(data "{"x" if i % 2 else "yz"}")' for i in range(70_001))
    exports = world.load(f"""(module (memory (export "m") 1) {segments}
      (func (export "init") (param i32) (memory.init 70000 (local.get 0) (i32.const 0) (i32.const 2)))
      (func (export "drop") (data.drop 70000))
      (func (export "drop_4464") (data.drop 4464)))""")
    exports["drop_4464"]()  # 70000 - 65536
    exports["init"](3)
    assert exports["m"].read(3, 2) == b"yz"
    exports["drop"]()
    with pytest.raises(core_rt.Trap):
        exports["init"](3)


# ------------------------------------------------------------------------------------------------------- stacks


DEEP = """(module
  (import "host" "again" (func $again (param i32) (result i32)))
  (func $f (export "f") (param i32) (result i32) (local i64 i64 i64 i64)
    (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 1))
      (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))))
  (func $table (export "table") (param i32) (result i32)
    (i32.add (i32.const 1) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))
  (table 1 funcref) (elem (i32.const 0) $table)
  (func (export "wide") (param i32) (result i32) (call $wide {zeros} (local.get 0)))
  (func $wide (param {many} i32) (result i32) (call $wide {gets} (local.get 900)))
  (func (export "through") (param i32) (result i32) (i32.add (i32.const 1) (call $again (local.get 0)))))""".format(
    zeros="(i64.const 0) " * 900, many="i64 " * 900, gets=" ".join(f"(local.get {i})" for i in range(900))
)


@pytest.mark.parametrize("how", ["f", "table", "wide"])
def test_recursion_ends_in_a_trap(world, how):
    world.host("again", lambda n: n, "i32", "i32")
    exports = world.load(DEEP)
    assert exports["f"](1000) == 1001
    for _ in range(3):
        with pytest.raises(core_rt.Trap) as caught:
            exports[how](-1)
        assert caught.value.code is core_rt.TrapCode.STACK_OVERFLOW
        assert caught.value.frames[10].name in (how, None)
    assert exports["f"](1000) == 1001


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # who cleans up at the limit may fail
def test_recursion_through_the_host(world):
    world.host("again", lambda n: exports["through"](n - 1) if n else 0, "i32", "i32")
    exports = world.load(DEEP)
    assert exports["through"](20) == 21
    world.linker = core_rt.Linker(world.engine)
    world.host("again", lambda n: other["through"](n - 1) if n else exports["f"](-1), "i32", "i32")
    other = world.load(DEEP)
    with pytest.raises(core_rt.Trap) as caught:
        other["through"](20)
    assert caught.value.code is core_rt.TrapCode.STACK_OVERFLOW
    assert exports["through"](20) == 21


# ------------------------------------------------------------------------------------------------------- between functions


def test_calls_between_instances_and_through_tables(world):
    first = world.load("""(module (memory (export "m") 1) (table (export "t") 10 funcref) (global (export "g") (mut i64) (i64.const 5))
      (func $add (export "add") (param i32 f64) (result f64)
        (i32.store (i32.const 8) (local.get 0)) (f64.add (local.get 1) (f64.convert_i32_s (local.get 0))))
      (elem (i32.const 1) $add))""")
    world.linker.define("m", "add", first["add"])
    for name_ in ("m", "t", "g"):
        world.linker.define("m", name_, first[name_])
    second = world.load("""(module
      (import "m" "add" (func $add (param i32 f64) (result f64)))
      (import "m" "t" (table 10 funcref)) (import "m" "m" (memory 1)) (import "m" "g" (global $g (mut i64)))
      (type $f (func (param i32 f64) (result f64)))
      (func $own (type $f) (global.set $g (i64.extend_i32_s (i32.load (i32.const 8)))) (f64.neg (local.get 1)))
      (elem (i32.const 2) $own $add)
      (func (export "far") (param i32) (result f64) (call $add (local.get 0) (f64.const 0.5)))
      (func (export "at") (param i32 i32) (result f64) (call_indirect (type $f) (local.get 0) (f64.const 0.25) (local.get 1)))
      (func (export "wrong") (param i32) (call_indirect (param i32) (local.get 0) (i32.const 1))))""")
    assert second["far"](3) == 3.5
    assert [second["at"](7, index) for index in (1, 2, 3)] == [7.25, -0.25, 7.25]
    assert first["g"].value == 7
    codes = []
    for function, arguments in (("at", (0, 10)), ("at", (0, -1)), ("at", (0, 5)), ("wrong", (0,))):
        with pytest.raises(core_rt.Trap) as caught:
            second[function](*arguments)
        codes.append(caught.value.code.name)
    assert codes == ["UNDEFINED_ELEMENT", "UNDEFINED_ELEMENT", "UNINITIALIZED_ELEMENT", "BAD_SIGNATURE"]


def test_exceptions_pass_interpreted_frames(world):
    world.host("throw", lambda: throw(), "", "")

    def throw():
        exports["direct"](6)

    exports = world.load("""(module
      (import "host" "throw" (func $host))
      (tag $e (param i32))
      (func $throw (export "direct") (param i32) (throw $e (local.get 0)))
      (func $middle (param i32) (result i32) (local i64)
        (local.set 1 (i64.const 9))
        (if (i32.gt_u (local.get 0) (i32.const 100)) (then (call $host)) (else (call $throw (local.get 0))))
        (i32.wrap_i64 (local.get 1)))
      (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $middle (local.get 0))))
      (func $catch (param i32) (result i32)
        (block $caught (result i32) (try_table (result i32) (catch $e $caught) (call $deep (local.get 0)))))
      (func (export "go") (param i32) (result i32) (local i32)
        (local.set 1 (i32.const 1000))
        (i32.add (local.get 1) (call $catch (local.get 0)))))""")
    for value in (1, 5, 101):
        assert exports["go"](value) == 1000 + (6 if value > 100 else value)
    with pytest.raises(core_rt.GuestException):
        exports["direct"](3)


def test_tail_calls(world):
    exports = world.load("""(module
      (func $plain (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
      (func $tail (param i64) (result i64) (return_call $plain (i64.mul (local.get 0) (i64.const 2))))
      (func $even (param i64) (result i64)
        (if (i64.eqz (local.get 0)) (then (return (i64.const 44))))
        (return_call $odd (i64.sub (local.get 0) (i64.const 1))))
      (func $odd (param i64) (result i64) (return_call $even (i64.sub (local.get 0) (i64.const 1))))
      (func (export "go") (param i64) (result i64) (i64.add (call $tail (local.get 0)) (call $even (i64.const 100000)))))""")
    assert exports["go"](10) == 65


# ------------------------------------------------------------------------------------------------------- stopping

ENDLESS = """(module (import "host" "on" (func $on (result i32)))
  (func $loop (export "loop") (param i32) (result i32) (loop $l (br_if $l (i32.eqz (local.get 0)))) (local.get 0))
  (func $f (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "calls") (param i32) (loop $l (local.set 0 (call $f (local.get 0))) (br $l)))
  (func (export "asks") (result i32) (i32.add (call $on) (call $on))))"""


@pytest.mark.parametrize("function", ["loop", "calls"])
def test_a_deadline_ends_a_loop(world, function):
    world.host("on", lambda: 0, "", "i32")
    exports = world.load(ENDLESS)
    world.store.set_epoch_deadline(1)
    timer = threading.Timer(0.05, world.engine.increment_epoch)
    timer.start()
    with pytest.raises(core_rt.Trap) as caught:
        exports[function](0)
    timer.join()
    assert caught.value.code is core_rt.TrapCode.INTERRUPT
    assert caught.value.frames[-1].name == function
    world.engine.compiler.close()


def test_the_host_interrupts(monkeypatch):
    for tier in TIERS:
        world = world_of(tier, monkeypatch, tick_seconds=0.001)
        world.host("on", lambda: 0, "", "i32")
        exports = world.load(ENDLESS)

        def stop():
            raise KeyError("enough")

        world.store.on_interrupt = stop
        with pytest.raises(KeyError):
            exports["loop"](0)
        world.store.on_interrupt = None
        assert exports["asks"]() == 0
        world.engine.compiler.close()


def test_an_error_of_the_host_passes(world):
    def fail():
        raise KeyError("no")

    world.host("on", fail, "", "i32")
    exports = world.load(ENDLESS)
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            exports["asks"]()
        assert "asks" in "".join(caught.value.__notes__)
    assert exports["loop"](3) == 3


def test_threads_share_a_module(world):
    """Each thread has a store; budgets, words and code are the module's."""
    text = """(module (memory 1) (global $g (mut i32) (i32.const 0))
      (func $f (param i32) (result i32) (global.set $g (i32.add (global.get $g) (local.get 0))) (global.get $g))
      (func (export "go") (param i32) (result i32)
        (loop $l (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (call $f (i32.const 1))))
          (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i32.load (i32.const 0))))"""
    loaded = core_rt.Module(world.engine, wasm(text))
    results = []

    def work():
        store = core_rt.Store(world.engine)
        go = core_rt.Linker(world.engine).instantiate(store, loaded).exports["go"]
        results.append([go(100) for _ in range(20)][-1])
        store.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2000 * 2001 // 2] * 6


def test_a_parked_guest_goes_on_in_other_threads(world):
    """Interpreted frames hold nothing of the thread that they began in."""
    store = world.store
    asked = []

    def ask(values):
        asked.append(values[0])
        return core_rt.PARK

    world.linker.define("host", "ask", core_rt.Func.from_raw(store, core_rt.FuncType((I32,), (I64,)), ask))
    exports = world.load("""(module (import "host" "ask" (func $ask (param i32) (result i64)))
      (func $deeper (param i32) (result i64) (i64.add (i64.extend_i32_u (local.get 0)) (call $ask (local.get 0))))
      (func (export "go") (param i32) (result i64) (local i64)
        (loop $l
          (local.set 1 (i64.add (i64.mul (local.get 1) (i64.const 10)) (call $deeper (local.get 0))))
          (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))""")
    values = store.u64
    state = [None]

    def go_on():
        values[0] = asked[-1] * 2
        state[0] = store.resume(state[0])

    for _ in range(3):
        values[0] = 5
        asked.clear()
        state[0] = store.start(exports["go"].site)
        while state[0] is not None:
            assert len(Backtrace.of_fiber(store, state[0])()) == 2
            thread = threading.Thread(target=go_on)
            thread.start()
            thread.join()
        assert asked == [5, 4, 3, 2, 1]
        assert values[0] == sum(3 * n * 10 ** (n - 1) for n in range(1, 6))
