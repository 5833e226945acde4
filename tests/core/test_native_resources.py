"""The C shim: linear memories, images, machine code, pools, the ticker, forks; and that nothing of them leaks."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core_rt import native
from core_rt.errors import EngineBug, ExhaustionError
from core_rt.native import ffi
from core_rt.vm import structs as s
from tests.core.native_guest import HOST_CALL, INTERRUPT_CHECK, Guest, builtin
from tests.core.test_native_calls import ADD, ASK

ROOT = Path(__file__).resolve().parents[2]
BIG = (8 << 30) + (64 << 10)
PAGE = os.sysconf("SC_PAGESIZE")

# Spins until values[0] is nonzero, looking at the interrupt word.
SPIN = (
    "br label %l\nl:\n"
    + INTERRUPT_CHECK
    + """
  %c = icmp ne i32 %iv, 0
  br i1 %c, label %i, label %n
i:
"""
    + builtin("interrupted")
    + """
  call void %b(ptr %vm)
  br label %n
n:
  %stop = load volatile i64, ptr %values
  %d = icmp ne i64 %stop, 0
  br i1 %d, label %e, label %l
e:
  ret void
"""
)


@pytest.fixture
def ticks() -> Iterator[None]:
    before = native.ticker_period()
    native.stop_ticker()
    native.start_ticker(0.002)
    yield
    native.stop_ticker()
    if before:
        native.start_ticker(before)


def maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


def test_structs_are_as_declared() -> None:
    """If this fails the shim was built from other structs: run `python core_rt/native/build.py`."""
    for struct in s.STRUCTS:
        found = {name: field.offset for name, field in ffi.typeof(struct.name).fields}
        assert found == struct.offsets and ffi.sizeof(struct.name) == struct.size, struct.name


# ---------------------------------------------------------------------------------------------------- memories


def test_commit() -> None:
    memory = native.Reservation(BIG)
    assert memory.size == BIG and memory.base % PAGE == 0 and memory.accessible == 0
    memory.commit(1)
    assert memory.accessible == PAGE
    memory.commit(3 * PAGE)
    memory.commit(PAGE)
    assert memory.accessible == 3 * PAGE, "committing less takes nothing away"
    view = memory.view(3 * PAGE)
    view[:] = b"x" * (3 * PAGE)
    del view
    view = memory.view(3 * PAGE)
    with pytest.raises(EngineBug):
        memory.view(3 * PAGE + 1)
    with pytest.raises(ExhaustionError):
        memory.commit(BIG + 1)
    memory.close()
    memory.close()
    with pytest.raises(EngineBug):
        memory.commit(1)
    assert view[0] == ord("x"), "a view keeps the memory"


def test_too_much_address_space() -> None:
    with pytest.raises(ExhaustionError):
        native.Reservation(1 << 62)
    with pytest.raises(ExhaustionError):
        native.Reservation((1 << 64) - 1)


def test_reservations_are_reused_clean() -> None:
    first = native.Reservation(BIG)
    first.commit(1 << 20)
    first.view(1 << 20)[:] = b"\xff" * (1 << 20)
    base = first.base
    first.close()
    assert native.statistics()["reservations_pooled"] >= 1
    second = native.Reservation(BIG)
    assert second.base == base and second.accessible == 0
    second.commit(1 << 20)
    assert not any(second.view(1 << 20))
    other = native.Reservation(BIG // 2)
    assert other.base != base
    for memory in (second, other):
        memory.close()


def test_memory_beyond_what_is_committed_traps_after_reuse(guest: Guest) -> None:
    size = guest.memory.size
    guest.memory.commit(size)
    guest.memory.close()
    memory = native.Reservation(size)
    load = f"%x = load volatile i8, ptr inttoptr (i64 {memory.base} to ptr)\nret void"
    assert guest.call(load) == s.STATUS_TRAP and guest.trapped.trap_code == 2
    memory.commit(1)
    assert guest.call(load) == 0
    memory.close()


def test_reservations_are_reused_as_wanted() -> None:
    """Whatever the last user asked for, the next one has what it asks for, and zeros."""
    native.set_pool_limits(reservations=0)
    native.set_pool_limits(reservations=128)
    image = native.Image(b"image" * 3000)
    base = None
    for length, of in (
        (9, None),
        (1, image),
        (1, image),
        (1, None),
        (5, None),
        (2, None),
        (300, image),
        (4, image),
        (20000, None),
        (0, None),
    ):
        size = length * PAGE if of is None else max(length * PAGE, of.size)
        memory = native.Reservation(BIG, size, of)
        assert base in (None, memory.base), "one reservation serves them all"
        base = memory.base
        assert memory.accessible == -(-size // PAGE) * PAGE
        view = memory.view(memory.accessible)
        known = b"" if of is None else b"image" * 3000
        assert bytes(view[: len(known)]) == known and not any(view[len(known) :])
        view[:] = b"\xff" * len(view)
        del view
        memory.close()


def test_a_reservation_has_several_users() -> None:
    start = native.statistics()["reservations"]
    first = native.Reservation(BIG, PAGE)
    second = native.Reservation.of(first._handle)
    first.view(1)[0] = 7
    first.close()
    assert second.view(1)[0] == 7
    assert native.statistics()["reservations"] == start + 1
    second.close()
    assert native.statistics()["reservations"] == start


def test_images_are_copied_on_write() -> None:
    data = bytes(range(256)) * 40 + bytes(3 * PAGE) + b"end"
    image = native.Image(data)
    assert image.size == len(data)
    memories = [native.Reservation(BIG, 1 << 20, image) for _ in range(3)]
    for i, memory in enumerate(memories):
        assert memory.accessible == 1 << 20
        view = memory.view(1 << 20)
        assert bytes(view[: len(data)]) == data and not any(view[len(data) :])
        view[0] = 100 + i
        view[len(data)] = 1
    assert [m.view(1)[0] for m in memories] == [100, 101, 102]
    fresh = native.Reservation(BIG, image.size, image)
    assert fresh.view(1)[0] == 0
    with pytest.raises(ExhaustionError):
        native.Reservation(BIG, image.size - 1, image)
    # Used again with the image it is as new, without it there is nothing left of it.
    bases = {m.base for m in memories}
    view = None
    for memory in memories:
        memory.close()
    again, other = native.Reservation(BIG, 1 << 20, image), native.Reservation(BIG, 1 << 20)
    assert again.base in bases and bytes(again.view(len(data))) == data and not any(again.view(1 << 20)[len(data) :])
    assert other.base in bases and not any(other.view(1 << 20))
    image.close()
    image.close()
    assert fresh.view(2)[1] == 1, "memories outlive the image"


def test_nothing_keeps_an_image_that_is_closed() -> None:
    native.set_pool_limits(reservations=0)
    native.set_pool_limits(reservations=128)

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:wasm-image")

    before = mapped()
    for order in ((0, 1), (1, 0)):
        image = native.Image(b"x" * 100_000)
        closing = (native.Reservation(BIG, 1 << 20, image), image)
        assert mapped() == before + 1
        for which in order:
            closing[which].close()
        assert mapped() == before


def test_image_of_zeros_and_of_nothing() -> None:
    for data in (b"", bytes(10), bytes(5 * PAGE), bytes(PAGE) + b"x", b"x" + bytes(2 * PAGE)):
        image = native.Image(data)
        memory = native.Reservation(1 << 20, 1 << 16, image)
        assert bytes(memory.view(len(data))) == data
        image.close()


def test_new_block() -> None:
    block = native.new_block(1000)
    assert native.address(block) % 16 == 0 and ffi.buffer(block)[:] == bytes(1000)


# ---------------------------------------------------------------------------------------------------- code


def test_code_arena_is_never_writable_and_executable(guest: Guest) -> None:
    arena = native.CodeArena()
    places = [arena.alloc(3000, 64) for _ in range(100)]
    assert all(rx % 64 == 0 for _, rx in places)
    ends = sorted(rx for _, rx in places)
    assert all(b - a >= 3000 for a, b in itertools.pairwise(ends))
    assert arena.statistics()["chunks"] > 1
    view, rx = places[50]
    view[:4] = b"\1\2\3\4"
    assert ffi.buffer(native.pointer(rx), 4)[:] == b"\1\2\3\4"
    big, _ = arena.alloc(20 << 20)
    assert len(big) == 20 << 20
    for line in Path("/proc/self/maps").read_text().splitlines():
        assert "wx" not in line.split()[1] or "wasm" not in line
    with pytest.raises(EngineBug):
        arena.alloc(1, 3)
    del view, big, places
    arena.close()
    arena.close()
    with pytest.raises(EngineBug):
        arena.alloc(1)


# ---------------------------------------------------------------------------------------------------- leaks


def test_ten_thousand_fibers(guest: Guest) -> None:
    start = native.statistics()
    before = maps()
    guest.fibers.size = 64 << 10
    site = guest.site(guest.code(ASK))
    for _ in range(10_000):
        guest.fibers.new()
    parked = []
    for _ in range(10_000):
        assert native.call(site) == s.STATUS_HOST_CALL
        parked.append(guest.fiber)
        native.park(parked[-1])
    for i, fiber in enumerate(parked):
        guest.values[0] = i
        assert native.resume(fiber) == 0 and guest.values[0] == i + 1
    guest.fibers.close()
    assert native.statistics()["fibers"] == start["fibers"] - 4
    native.set_pool_limits(stacks=0)
    native.set_pool_limits(stacks=4096)
    assert maps() <= before + 20


def test_ten_thousand_memories() -> None:
    """More than the pool keeps at once, then many one after the other."""
    gc.collect()  # what other tests left must not be freed in between
    native.set_pool_limits(reservations=0)
    before, start = maps(), native.statistics()
    native.set_pool_limits(reservations=128)
    memories = [native.Reservation(BIG) for _ in range(1000)]
    for memory in memories:
        memory.commit(65536)
        memory.view(1)[0] = 1
    memories.clear()
    assert native.statistics()["reservations_pooled"] == 128
    for _ in range(10_000):
        memory = native.Reservation(BIG)
        memory.commit(65536)
        memory.close()
    del memory
    gc.collect()
    assert native.statistics()["reservations"] == start["reservations"]
    native.set_pool_limits(reservations=0)
    native.set_pool_limits(reservations=128)
    assert maps() <= before + 5


def test_everything_is_freed_with_its_objects() -> None:
    gc.collect()
    start = native.statistics()
    for _ in range(50):
        guest = Guest(stacks=3)
        guest.call(ADD)
        guest.call(ASK)
        native.park(guest.fiber)
        extra = (native.Stubs(10), native.Image(b"x" * 5000), native.Reservation(BIG))
        del extra
    del guest
    gc.collect()
    end = native.statistics()
    for name in ("stores", "fibers", "reservations", "images", "code_arenas", "stubs"):
        assert end[name] == start[name], name


def test_stacks_are_pooled(guest: Guest) -> None:
    fiber = guest.fibers.new()
    mapping = fiber.mapping
    guest.fibers.free(fiber)
    assert native.statistics()["fiber_mappings_pooled"] >= 1
    other = Guest(stacks=0)
    assert other.fibers.new().mapping == mapping
    other.close()


def test_stacks_that_cannot_be() -> None:
    guest = Guest(stacks=0)
    for size in (0, 1 << 50, (1 << 64) - 1):
        guest.fibers.size = size
        with pytest.raises(ExhaustionError):
            guest.fibers.new()
    assert guest.fibers.count == 0
    guest.close()


# ---------------------------------------------------------------------------------------------------- interrupts


def test_ticker_interrupts_a_loop(guest: Guest, ticks: None) -> None:
    guest.values[0] = 0
    begin = time.perf_counter()
    status = guest.call(SPIN)
    for _ in range(4):
        assert status == s.STATUS_INTERRUPT
        assert len(native.backtrace(guest.fiber)) == 1
        status = native.resume_running(guest.context)
    assert 0.004 < time.perf_counter() - begin < 5
    assert guest.context.ticks >= 4
    native.abandon(guest.fiber)


def test_ticker_leaves_idle_stores_alone_and_sleeps(guest: Guest, ticks: None) -> None:
    other = Guest()
    guest.values[0] = 0
    assert guest.call(SPIN) == s.STATUS_INTERRUPT
    native.abandon(guest.fiber)
    assert other.context.ticks == 0 and other.context.interrupt == 0
    time.sleep(0.2)
    ticked = native.statistics()["ticks"]
    time.sleep(0.05)
    assert native.statistics()["ticks"] == ticked
    assert native.call(guest.last) == s.STATUS_INTERRUPT, "it wakes up again"
    native.abandon(guest.fiber)
    other.close()


def test_no_ticks_when_stopped(guest: Guest, ticks: None) -> None:
    native.stop_ticker()
    guest.values[0] = 0
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(guest.call(SPIN)))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    native.start_ticker(0.002)
    thread.join(5)
    assert results == [s.STATUS_INTERRUPT], "a guest that runs already gets ticks too"
    guest.context.owner = native.thread_token()  # the thread is gone: take over what it left
    native.abandon(guest.fiber)


def test_interrupt_from_another_thread(guest: Guest) -> None:
    period = native.ticker_period()
    native.stop_ticker()
    guest.values[0] = 0
    timer = threading.Timer(0.05, guest.store.interrupt)
    timer.start()
    assert guest.call(SPIN) == s.STATUS_INTERRUPT
    assert guest.context.interrupt == 0
    guest.values[0] = 1
    assert native.resume_running(guest.context) == 0
    timer.join()
    if period:
        native.start_ticker(period)


@pytest.mark.parametrize("seconds", [0, -1, 1e9, float("nan")])
def test_impossible_periods(seconds: float) -> None:
    with pytest.raises(ValueError):
        native.start_ticker(seconds)


def test_a_spinning_guest_may_move_to_another_thread(guest: Guest, ticks: None) -> None:
    """What an async store does with a call that takes long."""
    guest.values[0] = 0
    assert guest.call(SPIN) == s.STATUS_INTERRUPT
    fiber = guest.fiber
    native.park(fiber)
    results: list[int] = []

    def work() -> None:
        status = native.resume(fiber)
        while status == s.STATUS_INTERRUPT:
            results.append(status)
            if len(results) == 3:
                guest.values[0] = 1
            status = native.resume(fiber)
        results.append(status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert results == [s.STATUS_INTERRUPT] * 3 + [0]


# ---------------------------------------------------------------------------------------------------- fork, exit


def run_child(program: str) -> subprocess.CompletedProcess[str]:
    prelude = f"""
    import os, sys, threading, time
    sys.path.insert(0, {str(ROOT)!r})
    from core_rt import native
    from tests.core.native_guest import Guest
    from tests.core.test_native_resources import SPIN
    from tests.core.test_native_calls import ADD, ASK
    from tests.core.test_native_traps import load_at
    native.start_ticker(0.002)
    guest = Guest(stacks=2)
    """
    source = textwrap.dedent(prelude) + textwrap.dedent(program)
    command = [sys.executable, "-X", "faulthandler", "-c", source]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_fork() -> None:
    """The child has traps, code, memory and a ticker of its own; what it compiles does not show in the parent."""
    program = """
    assert guest.call(SPIN) == 4
    native.abandon(guest.fiber)
    assert guest.call(load_at(guest.memory.base + 65536)) == 5
    used = guest.arena.statistics()
    child = os.fork()
    assert guest.call(SPIN) == 4, "ticks"
    native.abandon(guest.fiber)
    guest.values[0], guest.values[2] = 1, 2 if child else 3
    mine = guest.code("store i64 %d, ptr %%values\\nret void" % (child != 0))
    time.sleep(0.05)
    for _ in range(10):
        assert native.call(guest.site(mine)) == 0 and guest.values[0] == (child != 0)
    assert guest.call(load_at(guest.memory.base + 65536)) == 5
    new = Guest()
    assert new.call(ADD) == 0
    new.close()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print("good")
    else:
        sys.stdout.flush()
        os._exit(0)
    """
    done = run_child(program)
    assert done.stdout == "good\n" and done.returncode == 0, done.stderr


def test_exit_with_guests_suspended_and_running() -> None:
    program = """
    assert guest.call(ASK) == 1
    native.park(guest.fiber)
    other = Guest()
    other.values[0] = 0
    address = other.site(other.code(SPIN))
    def forever():
        status = native.call(address)
        while True:
            status = native.resume_running(other.context)
    threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.05)
    third = Guest()
    third.call(ASK)
    print("end")
    """
    done = run_child(program)
    assert done.stdout == "end\n" and done.returncode == 0, done.stderr


def test_threads_that_end_free_their_signal_stacks() -> None:
    def work() -> None:
        guest = Guest()
        guest.call(ADD)
        guest.close()

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    before = maps()
    for _ in range(50):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert maps() <= before + 10


def test_host_call_inside_a_loop_is_quick(guest: Guest) -> None:
    """No figure is asserted that a loaded machine could miss: a round trip that takes 20 µs has lost its way."""
    loop = (
        HOST_CALL
        + """
      br label %l
    l:
      %i = phi i64 [10000, %entry], [%j, %l]
      call void %hc(ptr %host, ptr %values)
      %j = sub i64 %i, 1
      %c = icmp ne i64 %j, 0
      br i1 %c, label %l, label %d
    d:
      ret void"""
    )
    site = guest.site(guest.code(loop))
    begin = time.perf_counter()
    status, calls = native.call(site), 0
    while status:
        calls += 1
        status = native.resume_running(guest.context)
    assert calls == 10_000 and time.perf_counter() - begin < 0.2
