"""The C shim: hardware traps, explicit traps, their backtraces, and the way to other signal handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from core_rt import native
from core_rt.errors import TrapCode
from core_rt.native import ffi
from core_rt.vm import structs as s
from tests.core.native_guest import HOST_CALL, Guest, builtin

ROOT = Path(__file__).resolve().parents[2]

LLVM_TRAP = "declare void @llvm.trap()"
# calls the function at values[16] (bytes), which is itself or another, with a frame of its own
RECURSE = """
  %pad = alloca [PAD x i8], align 16
  store volatile i8 1, ptr %pad
  %q = getelementptr i8, ptr %values, i64 16
  %fi = load ptr, ptr %q
  call void %fi(ptr %vm, ptr %values)
  store volatile i8 2, ptr %pad
  ret void
"""


def load_at(address: int) -> str:
    load = f"%x = load volatile i32, ptr inttoptr (i64 {address} to ptr)"
    return load + "\n%z = zext i32 %x to i64\nstore i64 %z, ptr %values\nret void"


def trap_of(guest: Guest, body: str, tail: str = "") -> int:
    site = guest.site(guest.code(body, tail=tail))
    for _ in range(3):
        assert native.call(site) == s.STATUS_TRAP
        assert guest.at_rest()
    return int(guest.trapped.trap_code)


def test_out_of_bounds(guest: Guest) -> None:
    guest.memory.view(65536)[65532:] = b"\1\0\0\0"
    assert guest.call(load_at(guest.memory.base + 65532)) == 0 and guest.values[0] == 1
    for offset in (65536, 65533, (1 << 20) - 4):
        before = native.statistics()["traps"]
        assert trap_of(guest, load_at(guest.memory.base + offset)) == TrapCode.MEMORY_OUT_OF_BOUNDS
        assert native.statistics()["traps"] == before + 3
        trapped = guest.trapped
        assert trapped.trap_address in (guest.memory.base + offset, guest.memory.base + 65536)
        assert trapped.trap_offset == 0xFFFFFFFF
        first, *others = native.frames(trapped)
        assert first == trapped.trap_pc and others == []
        assert any(start <= first < start + size for start, size in guest.arena.ranges)
    guest.values[0] = 0
    assert guest.call("store i64 9, ptr %values\nret void") == 0 and guest.values[0] == 9


def test_faults_that_wasm_does_not_explain(guest: Guest) -> None:
    assert trap_of(guest, load_at(64)) == 255
    assert guest.trapped.trap_address == 64
    assert trap_of(guest, load_at(s.POISON)) == 255


def test_unreachable_and_division(guest: Guest) -> None:
    assert trap_of(guest, "call void @llvm.trap()\nunreachable", LLVM_TRAP) == TrapCode.UNREACHABLE
    if os.uname().machine == "x86_64":
        guest.values[0] = 0
        body = "%d = load i64, ptr %values\n%q = udiv i64 1, %d\nstore i64 %q, ptr %values\nret void"
        assert trap_of(guest, body) == TrapCode.INTEGER_DIVISION_BY_ZERO


def test_raise_trap(guest: Guest) -> None:
    body = builtin("raise_trap") + "call void %b(ptr %vm, i32 18, i32 4660)\nunreachable"
    assert trap_of(guest, body) == 18
    trapped = guest.trapped
    assert trapped.trap_offset == 0x1234 and native.frames(trapped) == [trapped.trap_pc]
    (start, size), *_ = guest.arena.ranges
    assert start <= trapped.trap_pc < start + size, "also when the call is the last instruction"


@pytest.mark.parametrize("pad", [16, 4096, 200_000])
def test_stack_overflow(guest: Guest, pad: int) -> None:
    address = guest.code(RECURSE.replace("PAD", str(pad)))
    site = guest.site(address)
    for _ in range(3):
        guest.values[2] = address
        assert native.call(site) == s.STATUS_TRAP
        assert guest.trapped.trap_code == TrapCode.STACK_OVERFLOW
        frames = native.frames(guest.trapped)
        depth = len(frames) + guest.trapped.frames_more
        assert 0.9 * (256 << 10) / (pad + 64) <= depth <= (256 << 10) / pad + 3
        assert all(start <= pc < start + size for pc in frames for start, size in guest.arena.ranges)


def test_stack_overflow_inside_the_shim(guest: Guest) -> None:
    """Small frames and a host call at every depth: the shim's own push is what faults at some of them."""
    body = (
        HOST_CALL
        + """
      call void %hc(ptr %host, ptr %values)
      %q = getelementptr i8, ptr %values, i64 16
      %fi = load ptr, ptr %q
      call void %fi(ptr %vm, ptr %values)
      store volatile i64 0, ptr %values
      ret void"""
    )
    address = guest.code(body)
    for shift in range(0, 128, 16):
        guest.values[2] = address
        start = guest.code(RECURSE.replace("PAD", str(shift + 16)))
        status = native.call(guest.site(start))
        calls = 0
        while status == s.STATUS_HOST_CALL:
            calls += 1
            status = native.resume_running(guest.context)
        assert status == s.STATUS_TRAP and guest.trapped.trap_code == TrapCode.STACK_OVERFLOW and calls > 1000


def test_frames_of_a_chain_of_calls(guest: Guest) -> None:
    outer = guest.code(RECURSE.replace("PAD", "64"))
    inner = guest.code(load_at(64))
    guest.values[2] = inner
    assert native.call(guest.site(outer)) == s.STATUS_TRAP
    frames = native.frames(guest.trapped)
    assert len(frames) == 2 and inner <= frames[0] and outer < frames[1] < inner


def test_backtrace_is_bounded(guest: Guest) -> None:
    address = guest.code(RECURSE.replace("PAD", "16"))
    guest.values[2] = address
    assert native.call(guest.site(address)) == s.STATUS_TRAP
    assert len(native.frames(guest.trapped)) == 128 and guest.trapped.frames_more > 1000


def test_traps_on_many_threads() -> None:
    """Each thread has its own store; thread ends and new threads come: alternate stacks are made and freed."""
    failures: list[object] = []

    def work(number: int) -> None:
        guest = Guest(stack_size=64 << 10)
        bad = guest.site(guest.code(load_at(guest.memory.base + 65536 + 8 * number)))
        recursion = guest.code(RECURSE.replace("PAD", "32"))
        deep = guest.site(recursion)
        for _ in range(200):
            guest.values[2] = recursion
            for site, code in ((bad, TrapCode.MEMORY_OUT_OF_BOUNDS), (deep, TrapCode.STACK_OVERFLOW)):
                if native.call(site) != s.STATUS_TRAP or guest.trapped.trap_code != code:
                    failures.append((number, code))
        guest.close()

    for _ in range(2):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_signal_mask_and_errno_survive(guest: Guest) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    site = guest.site(guest.code(load_at(guest.memory.base + 65536)))
    ffi.errno = 77
    for _ in range(10):
        native.call(site)
    assert ffi.errno == 77
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_registered_code_elsewhere(guest: Guest) -> None:
    """Faults in code that another loader made count once its range is registered."""
    address = guest.code(load_at(64))
    index = native.register_code(1 << 20, 4096)
    native.unregister_code(index)
    assert native.register_code(1 << 20, 4096) == index, "ranges are used again"
    native.unregister_code(index)
    assert native.call(guest.site(address)) == s.STATUS_TRAP


# ---------------------------------------------------------------------------------------------------- other handlers


def run_child(program: str) -> subprocess.CompletedProcess[str]:
    prelude = """
    import ctypes, faulthandler, os, signal, sys
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, ROOT)
    from core_rt import native
    from tests.core.native_guest import Guest
    from tests.core.test_native_traps import load_at
    """.replace("ROOT", repr(str(ROOT)))
    source = textwrap.dedent(prelude) + textwrap.dedent(program)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)


TRAP = """
guest = Guest()
assert guest.call(load_at(guest.memory.base + 65536)) == 5
assert guest.call(load_at(guest.memory.base + 65536)) == 5
"""
CRASH = "print('before', flush=True)\nctypes.string_at(64)\n"


@pytest.mark.parametrize("order", ["before", "after", "never", "between"])
def test_crashes_of_the_host_still_reach_faulthandler(order: str) -> None:
    program = {
        "before": "faulthandler.enable()\n" + TRAP,
        "after": "Guest()\nfaulthandler.enable()\n" + TRAP,  # the next store takes the handlers back
        "between": TRAP + "faulthandler.enable()\n" + TRAP + "faulthandler.disable()\nfaulthandler.enable()\n" + TRAP,
        "never": TRAP,
    }[order]
    done = run_child(program + CRASH)
    assert done.stdout == "before\n", done.stderr
    assert done.returncode == -signal.SIGSEGV
    assert done.stderr.count("Fatal Python error: Segmentation fault") == (0 if order == "never" else 1), done.stderr
    if order != "never":
        assert "string_at" in done.stderr


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGFPE", "SIGILL", "SIGBUS"])
def test_signals_that_were_sent_end_the_process(name: str) -> None:
    done = run_child(TRAP + f"os.kill(os.getpid(), signal.{name})\nprint('alive')\n")
    assert done.returncode == -getattr(signal, name) and done.stdout == ""


def test_a_host_stack_overflow_is_not_taken_for_a_guest() -> None:
    program = TRAP + "faulthandler.enable()\nGuest()\nfaulthandler._stack_overflow()\n"
    done = run_child(program)
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGABRT) and "Fatal Python error" in done.stderr


def test_another_runtime_beside_us() -> None:
    """wasmtime installs handlers of its own, before or after ours; both keep working, and so does faulthandler."""
    pytest.importorskip("wasmtime")
    program = """
    import wasmtime
    faulthandler.enable()
    def theirs():
        engine = wasmtime.Engine()
        store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, '(module (memory 1) (func (export "f") (drop (i32.load (i32.const 70000)))))')
        f = wasmtime.Instance(store, module, []).exports(store)["f"]
        for _ in range(3):
            try:
                f(store)
            except wasmtime.Trap:
                pass
            else:
                raise AssertionError
    def ours():
        guest = Guest()
        for _ in range(3):
            assert guest.call(load_at(guest.memory.base + 65536)) == 5
    for act in ORDER:
        act()
    """
    for order in ("(ours, theirs, ours, theirs)", "(theirs, ours, theirs, ours)"):
        done = run_child(textwrap.dedent(program).replace("ORDER", order) + CRASH)
        assert done.stdout == "before\n" and done.returncode == -signal.SIGSEGV, done.stderr
        assert done.stderr.count("Fatal Python error: Segmentation fault") == 1, done.stderr


def test_signals_of_python_while_guests_run_and_trap(guest: Guest) -> None:
    """Handlers of others interrupt guests at any place, with hardly any stack left too."""
    seen = 0

    def handler(number: int, frame: object) -> None:
        nonlocal seen
        seen += 1

    recursion = guest.code(RECURSE.replace("PAD", "16"))
    deep, bad = guest.site(recursion), guest.site(guest.code(load_at(guest.memory.base + 65536)))
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        end = time.perf_counter() + 0.3
        while time.perf_counter() < end:
            guest.values[2] = recursion
            assert native.call(deep) == s.STATUS_TRAP and guest.trapped.trap_code == TrapCode.STACK_OVERFLOW
            assert native.call(bad) == s.STATUS_TRAP and guest.trapped.trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen > 20
