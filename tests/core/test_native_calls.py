"""The C shim: entering guests, leaving them for the host, parking, lazy-compile stubs, services in C."""

from __future__ import annotations

import struct
import threading

import pytest

from core_rt import native
from core_rt.errors import EngineBug, StoreError
from core_rt.native import ffi
from core_rt.vm import structs as s
from tests.core.native_guest import HOST_CALL, INTERRUPT_CHECK, Guest, builtin

ADD = """
  %a = load i64, ptr %values
  %q = getelementptr i8, ptr %values, i64 16
  %b = load i64, ptr %q
  %c = add i64 %a, %b
  store i64 %c, ptr %values
  ret void
"""
# values[0] = host(values[0]) + 1
ASK = (
    HOST_CALL
    + """
  call void %hc(ptr %host, ptr %values)
  %r = load i64, ptr %values
  %r1 = add i64 %r, 1
  store i64 %r1, ptr %values
  ret void
"""
)


def test_call_and_return(guest: Guest) -> None:
    guest.values[0], guest.values[2] = 40, 2
    assert guest.call(ADD) == s.STATUS_RETURNED
    assert guest.values[0] == 42
    assert guest.idle_count() == 4
    for i in range(1000):
        guest.values[0], guest.values[2] = i, i
        assert native.call(guest.last) == 0 and guest.values[0] == 2 * i


def test_no_fiber_until_one_is_made() -> None:
    guest = Guest(stacks=0)
    guest.values[0], guest.values[2] = 1, 2
    assert guest.call(ADD) == s.STATUS_NO_FIBER
    assert guest.at_rest()
    guest.fibers.new()
    assert native.call(guest.last) == 0 and guest.values[0] == 3
    guest.close()


def test_host_call_round_trip(guest: Guest) -> None:
    guest.values[0] = 5
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    fiber = guest.fiber
    assert fiber.status == s.STATUS_HOST_CALL and fiber.callee == guest.host and guest.context.host_index == 7
    assert guest.context.depth == 1 and guest.context.owner == native.thread_token()
    assert len(native.backtrace(fiber)) == 1
    guest.values[0] = 100
    assert native.resume(fiber) == s.STATUS_RETURNED
    assert guest.values[0] == 101


def test_nested_calls(guest: Guest) -> None:
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    outer = guest.fiber
    site = guest.site(guest.code(ASK))
    assert native.call(site) == s.STATUS_HOST_CALL
    inner = guest.fiber
    assert inner != outer and inner.outer == outer and guest.context.depth == 2
    assert native.resume(outer) == -1, "only the innermost may go on"
    with pytest.raises(EngineBug):
        native.park(outer)
    guest.values[0] = 1
    assert native.resume_running(guest.context) == 0 and guest.values[0] == 2
    assert guest.fiber == outer
    guest.values[0] = 10
    assert native.resume_running(guest.context) == 0 and guest.values[0] == 11
    assert native.resume_running(guest.context) != 0, "nobody is left to resume"


def test_a_trap_in_a_nested_call_leaves_the_outer_one_alone(guest: Guest) -> None:
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    outer = guest.fiber
    site = guest.site(guest.code("call void @llvm.trap()\nunreachable", tail="declare void @llvm.trap()"))
    assert native.call(site) == s.STATUS_TRAP
    assert guest.fiber == outer and guest.context.depth == 1
    guest.values[0] = 3
    assert native.resume(outer) == 0 and guest.values[0] == 4


def test_abandon(guest: Guest) -> None:
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    fiber = guest.fiber
    native.abandon(fiber)
    assert guest.at_rest() and guest.idle_count() == 4
    with pytest.raises(EngineBug):
        native.abandon(fiber)
    assert native.resume(fiber) == -1
    guest.values[0] = 1
    assert guest.call(ADD) == 0


def test_libcall_arguments_and_answer(guest: Guest) -> None:
    call = "call void %b(ptr %vm, ptr inttoptr (i64 4660 to ptr), i64 1, ptr null, i64 -1, i64 3)\nret void"
    body = builtin("table_copy") + call
    assert guest.call(body) == s.STATUS_LIBCALL
    fiber = guest.fiber
    assert fiber.libcall == s.BUILTIN_INDEX["table_copy"] and fiber.vmctx == guest.vm
    assert list(fiber.arguments)[:5] == [0x1234, 1, 0, (1 << 64) - 1, 3]
    assert native.resume(fiber) == 0
    call = "%r = call i32 %b(ptr %vm, i32 -1, i32 2)\n%z = zext i32 %r to i64\nstore i64 %z, ptr %values\nret void"
    body = builtin("gc_is_subtype") + call
    assert guest.call(body) == s.STATUS_LIBCALL
    assert list(guest.fiber.arguments)[:2] == [0xFFFFFFFF, 2], "32-bit arguments are zero-extended"
    guest.fiber.answer[0] = 1
    assert native.resume_running(guest.context) == 0 and guest.values[0] == 1


def test_builtins_stand_in_the_order_of_the_table() -> None:
    array = ffi.cast("uint64_t *", native.pointer(native.builtin_array_address))
    addresses = [array[i] for i in range(len(s.BUILTINS))]
    assert all(addresses) and len(set(addresses)) == len(addresses)


def test_memory_services(guest: Guest) -> None:
    definition = f"ptr inttoptr (i64 {native.address(guest.definition)} to ptr)"
    view = guest.memory.view(65536)
    view[:4] = b"abcd"
    copy = (
        builtin("memory_copy")
        + f"""
      %to = load i64, ptr %values
      %q = getelementptr i8, ptr %values, i64 16
      %from = load i64, ptr %q
      %q2 = getelementptr i8, ptr %values, i64 32
      %n = load i64, ptr %q2
      call void %b(ptr %vm, {definition}, i64 %to, {definition}, i64 %from, i64 %n)
      ret void"""
    )
    site = guest.site(guest.code(copy))

    def run(to: int, source: int, n: int) -> int:
        guest.values[0], guest.values[2], guest.values[4] = to, source, n
        return native.call(site)

    assert run(2, 0, 4) == 0 and bytes(view[:6]) == b"ababcd", "overlapping"
    assert run(65536, 0, 0) == 0 and run(0, 65536, 0) == 0 and run(65532, 0, 4) == 0
    most = (1 << 64) - 1
    for bad in [(65537, 0, 0), (0, 65537, 0), (65533, 0, 4), (0, 65533, 4), (most, 0, 2), (0, 0, most)]:
        assert run(*bad) == s.STATUS_TRAP, bad
        assert guest.trapped.trap_code == 2 and len(native.frames(guest.trapped)) == 1
    fill = builtin("memory_fill") + f"call void %b(ptr %vm, {definition}, i64 8, i32 511, i64 4)\nret void"
    assert guest.call(fill) == 0 and bytes(view[7:13]) == b"\0\xff\xff\xff\xff\0"

    def init(at: int, source: int, n: int) -> int:
        call = f"call void %b(ptr %vm, {definition}, i32 0, i64 {at}, i32 {source}, i32 {n})\nret void"
        return guest.call(builtin("memory_init") + call)

    assert init(100, 2, 8) == 0 and bytes(view[100:108]) == b"23456789"
    assert init(100, 3, 8) == s.STATUS_TRAP and init(65530, 0, 7) == s.STATUS_TRAP
    assert guest.call(builtin("data_drop") + "call void %b(ptr %vm, i32 0)\nret void") == 0
    assert init(0, 0, 0) == 0 and init(0, 0, 1) == s.STATUS_TRAP


def test_gc_frames_belong_to_fibers(guest: Guest) -> None:
    body = f"""
      {INTERRUPT_CHECK}
      %g = getelementptr i8, ptr %st, i64 {s.VMStoreContext["gc_frame"]}
      %old = load ptr, ptr %g
      %oi = ptrtoint ptr %old to i64
      %q = getelementptr i8, ptr %values, i64 16
      store i64 %oi, ptr %q
      %frame = alloca [32 x i8], align 16
      store ptr %frame, ptr %g
      {HOST_CALL}
      call void %hc(ptr %host, ptr %values)
      %now = load ptr, ptr %g
      %same = icmp eq ptr %now, %frame
      %z = zext i1 %same to i64
      store i64 %z, ptr %values
      store ptr %old, ptr %g
      ret void"""
    site = guest.site(guest.code(body))
    assert native.call(site) == s.STATUS_HOST_CALL
    outer = guest.fiber
    assert outer.gc_frame != ffi.NULL and guest.context.gc_frame == ffi.NULL
    assert native.call(site) == s.STATUS_HOST_CALL
    assert guest.values[2] == 0, "a new call begins without frames"
    assert guest.fiber.gc_frame not in (ffi.NULL, outer.gc_frame)
    for _ in range(2):
        guest.values[0] = 0
        assert native.resume_running(guest.context) == 0 and guest.values[0] == 1


def test_another_thread_is_refused(guest: Guest) -> None:
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    fiber = guest.fiber
    seen: list[object] = []

    def other() -> None:
        seen.append(native.call(guest.last))
        seen.append(native.resume(fiber))
        seen.append(native.resume_running(guest.context))
        for act in (native.park, native.abandon):
            try:
                act(fiber)
            except StoreError as error:
                seen.append(error)
        try:
            guest.fibers.close()
        except StoreError as error:
            seen.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen[:3] == [s.STATUS_BUSY] * 3 and len(seen) == 6
    assert guest.context.depth == 1
    native.abandon(fiber)


def test_parked_fibers_wake_on_other_threads(guest: Guest) -> None:
    parked = []
    for i in range(3):
        guest.values[0] = i
        assert guest.call(ASK) == s.STATUS_HOST_CALL
        fiber = guest.fiber
        native.park(fiber)
        assert guest.at_rest() and native.is_parked(fiber)
        parked.append(fiber)
    with pytest.raises(EngineBug):
        native.park(parked[0])
    results = []

    def wake(fiber: object, value: int) -> None:
        guest.values[0] = value
        results.append((native.resume(fiber), guest.values[0]))

    for i, fiber in enumerate(parked[:2]):
        thread = threading.Thread(target=wake, args=(fiber, 10 * i))
        thread.start()
        thread.join()
    assert results == [(0, 1), (0, 11)]
    native.abandon(parked[2])
    assert not native.is_parked(parked[2]) and native.resume(parked[2]) == -1
    # The fiber that was dropped while parked is found again.
    guest.context.idle = ffi.NULL
    guest.values[0], guest.values[2] = 1, 1
    assert guest.call(ADD) == 0 and guest.values[0] == 2


def test_parking_the_inner_of_two_calls(guest: Guest) -> None:
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    outer = guest.fiber
    assert native.call(guest.last) == s.STATUS_HOST_CALL
    inner = guest.fiber
    native.park(inner)
    assert guest.fiber == outer and guest.context.depth == 1 and guest.context.owner
    guest.values[0] = 1
    assert native.resume(outer) == 0 and guest.values[0] == 2
    guest.values[0] = 5
    assert native.resume(inner) == 0 and guest.values[0] == 6


def test_closed_stores_refuse(guest: Guest) -> None:
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    with pytest.raises(StoreError):
        guest.fibers.close()
    with pytest.raises(StoreError):
        guest.store.close()
    fiber = guest.fiber
    native.park(fiber)
    guest.context.closed = 1
    assert native.call(guest.last) == s.STATUS_CLOSED
    assert native.resume(fiber) == s.STATUS_CLOSED
    guest.fibers.close()
    guest.fibers.close()
    native.abandon(fiber)
    assert native.resume(fiber) == s.STATUS_CLOSED
    assert guest.at_rest()


def test_free_one_fiber(guest: Guest) -> None:
    fiber = guest.fibers.new()
    guest.fibers.free(fiber)
    assert guest.call(ASK) == s.STATUS_HOST_CALL
    with pytest.raises(EngineBug):
        guest.fibers.free(guest.fiber)
    parked = guest.fiber
    native.park(parked)
    guest.fibers.free(parked)
    guest.values[0], guest.values[2] = 1, 2
    assert guest.call(ADD) == 0
    assert guest.fibers.count == 3 == guest.idle_count()


# ---------------------------------------------------------------------------------------------------- stubs

MANY = (
    "i64 @f(ptr %vm, i32 %a, i64 %b, i32 %c, i64 %d, i64 %e, i64 %x, i64 %y, double %f0, float %f1, double %f2, "
    "double %f3, double %f4, double %f5, double %f6, <2 x i64> %v, double %f8, double %f9)"
)
INTEGERS = (11, 22, 33, 44, 55, 66, 77)
FLOATS = (1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 9.5, 10.5)


def many_body() -> str:
    """Every argument weighs in with its own factor, so that exchanged or lost ones show."""
    lines = ["%s0 = add i64 0, 0"]
    for i, name in enumerate(["%a", "%b", "%c", "%d", "%e", "%x", "%y"]):
        if name in ("%a", "%c"):
            lines.append(f"%w{i} = zext i32 {name} to i64")
            name = f"%w{i}"
        lines += [f"%m{i} = mul i64 {name}, {10**i}", f"%s{i + 1} = add i64 %s{i}, %m{i}"]
    lines.append("%g1 = fpext float %f1 to double")
    for i, name in enumerate(["%f0", "%g1", "%f2", "%f3", "%f4", "%f5", "%f6", "%f8", "%f9"]):
        k = i + 7
        lines += [f"%t{i} = fptosi double {name} to i64", f"%m{k} = mul i64 %t{i}, {10**k}"]
        lines += [f"%s{k + 1} = add i64 %s{k}, %m{k}"]
    lines += ["%lo = extractelement <2 x i64> %v, i32 0", "%hi = extractelement <2 x i64> %v, i32 1"]
    lines += ["%mv = mul i64 %hi, 3", "%s17 = add i64 %s16, %lo", "%s18 = add i64 %s17, %mv", "ret i64 %s18"]
    return "\n".join(lines)


def store_floats(guest: Guest) -> None:
    """Floating-point constants would need relocations: the caller reads them from the values buffer, at byte 512."""
    ffi.buffer(guest.values + 64, 96)[:] = struct.pack("<9dxxxxxxxx2q", *FLOATS, 1000, -7)


def caller_body(convention: str) -> str:
    a, b, c, d, e, x, y = INTEGERS
    loads = []
    for i in range(9):
        loads += [f"%p{i} = getelementptr i8, ptr %values, i64 {512 + 8 * i}", f"%f{i} = load double, ptr %p{i}"]
    loads += ["%pv = getelementptr i8, ptr %values, i64 592", "%v = load <2 x i64>, ptr %pv"]
    loads += ["%f1s = fptrunc double %f1 to float"]
    integers = f"i32 {a}, i64 {b}, i32 {c}, i64 {d}, i64 {e}, i64 {x}, i64 {y}"
    floats = "double %f0, float %f1s, double %f2, double %f3, double %f4, double %f5, double %f6"
    return (
        "\n".join(loads)
        + f"""
  %tp = getelementptr i8, ptr %vm, i64 {s.VMContextHeader["code_table"]}
  %table = load ptr, ptr %tp
  %ep = getelementptr i8, ptr %table, i64 {8 * 3}
  %fn = load ptr, ptr %ep
  %r = call {convention} i64 %fn(ptr %vm, {integers}, {floats}, <2 x i64> %v, double %f7, double %f8)
  store i64 %r, ptr %values
  ret void"""
    )


EXPECTED = sum(int(v) * 10**i for i, v in enumerate((*INTEGERS, *FLOATS))) + 1000 - 3 * 7
assert EXPECTED < 1 << 63


@pytest.mark.parametrize("convention", ["", "tailcc"])
def test_lazy_stubs_keep_all_arguments(guest: Guest, convention: str) -> None:
    stubs = native.Stubs(5)
    store_floats(guest)
    table = ffi.new("uint64_t[5]", list(stubs.addresses()))
    guest.vm.code_table = table
    site = guest.site(guest.code(caller_body(convention)))
    target = guest.code(many_body(), f"{convention} {MANY}")
    for _ in range(2):
        assert native.call(site) == s.STATUS_COMPILE
        fiber = guest.fiber
        assert fiber.function == 3 and fiber.vmctx == guest.vm
        assert len(native.backtrace(fiber)) == 1, "the caller shows through the stub"
        assert native.resume(fiber) == s.STATUS_COMPILE, "not compiled yet"
        # The guest's registers must survive a visit of other code.
        guest.values[0], guest.values[2] = 1, 1
        assert guest.call(ADD) == 0
        table[3] = target
        assert native.resume(fiber) == s.STATUS_RETURNED
        assert guest.values[0] == EXPECTED
        # A pointer to the stub that was kept goes to the code at once.
        table[3] = stubs.address(3)
    body = caller_body(convention).replace("%fn = load ptr, ptr %ep", f"%fn = inttoptr i64 {stubs.address(3)} to ptr")
    table[3] = target
    assert guest.call(body) == s.STATUS_RETURNED and guest.values[0] == EXPECTED
    stubs.close()
    stubs.close()


def test_stub_indices(guest: Guest) -> None:
    stubs = native.Stubs(70_000)
    assert stubs.address(69_999) == stubs.addresses()[-1]
    assert stubs.holds(stubs.address(1)) and not stubs.holds(stubs.first - 1)
    with pytest.raises(IndexError):
        stubs.address(70_000)
    table = ffi.new("uint64_t[70000]", list(stubs.addresses()))
    guest.vm.code_table = table
    for index in (0, 1, 255, 65_535, 65_536, 69_999):
        body = f"call void inttoptr (i64 {stubs.address(index)} to ptr)(ptr %vm)\nret void"
        assert guest.call(body) == s.STATUS_COMPILE
        assert guest.fiber.function == index
        native.abandon(guest.fiber)
    stubs.close()


def test_a_wrong_host_context_is_caught(guest: Guest) -> None:
    guest.host.magic = 0
    assert guest.call(ASK) == s.STATUS_TRAP and guest.trapped.trap_code == 255
