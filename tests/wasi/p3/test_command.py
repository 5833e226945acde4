"""`wasi:cli`, `wasi:clocks` and `wasi:random` 0.3: what guests read, write and wait for, in stores of both kinds."""

from __future__ import annotations

import datetime
import io
import os
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import component_rt as rt
from component_rt.wasi import WasiConfig, interfaces
from core_rt.errors import GuestExit, Trap

from .guests import COPY, FIVE, STUCK, WAITS, WRITE, component
from .mirror import engine

BOTH = pytest.mark.parametrize("kind", ["synchronous", "trio"])


def run(kind: str, text: str, **grants: Any) -> int:
    """Run a command in a store; its exit code."""
    linker = rt.Linker(engine())
    linker.define_wasi(WasiConfig(**grants))

    async def in_trio() -> None:
        with trio.fail_after(20):
            async with rt.open_store(engine()) as store:
                instance = await linker.instantiate_async(store, component(text))
                await instance.exports["wasi:cli/run"].run()

    try:
        if kind == "trio":
            trio.run(in_trio)
        else:
            with rt.Store(engine()) as store:
                linker.instantiate(store, component(text)).exports["wasi:cli/run"].run()
    except GuestExit as exited:
        return exited.code
    return 0


def made(name: str, **grants: Any) -> Any:
    """The host's object for an interface."""
    found: Any = interfaces(WasiConfig(**grants))[f"wasi:{name}@0.3.0"]
    return found.make()


# ---------------------------------------------------------------------------------------------------- streams


@BOTH
@pytest.mark.parametrize("size", [0, 1, 60_000, 1_000_000])
def test_copying(kind: str, size: int) -> None:
    data, out = os.urandom(size), bytearray()
    assert run(kind, COPY, stdin=data, stdout=out) == 0
    assert out == data
    out.clear()
    assert run(kind, COPY, stdin=io.BytesIO(data), stdout=out.extend) == 0
    assert out == data


@BOTH
def test_copying_through_pipes(kind: str, tmp_path: Path) -> None:
    """Pipes that are empty and full meanwhile."""
    reader, source = os.pipe()
    target, writer = os.pipe()
    data = os.urandom(300_000)
    pid = os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=_pipes(target, writer, tmp_path / "out"))
    (tmp_path / "in").write_bytes(data)
    feeder = os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=_feeding(tmp_path / "in", source, reader))
    os.close(source)
    os.close(target)
    with os.fdopen(reader, "rb", 0) as stdin, os.fdopen(writer, "wb", 0) as stdout:
        assert run(kind, COPY, stdin=stdin, stdout=stdout) == 0
    for child in (feeder, pid):
        os.waitpid(child, 0)
    assert (tmp_path / "out").read_bytes() == data


def _pipes(target: int, writer: int, path: Path) -> list[Any]:
    return [
        (os.POSIX_SPAWN_DUP2, target, 0),
        (os.POSIX_SPAWN_CLOSE, writer),
        (os.POSIX_SPAWN_OPEN, 1, str(path), os.O_WRONLY | os.O_CREAT, 0o600),
    ]


def _feeding(path: Path, source: int, reader: int) -> list[Any]:
    return [
        (os.POSIX_SPAWN_OPEN, 0, str(path), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, source, 1),
        (os.POSIX_SPAWN_CLOSE, reader),
    ]


@BOTH
def test_stdin_is_read_when_the_guest_reads(kind: str) -> None:
    stdin = io.BytesIO(b"for somebody else")
    assert run(kind, WRITE, stdin=stdin, stdout=bytearray()) == 7
    assert stdin.tell() == 0


@BOTH
def test_no_more_of_stdin_is_taken_than_was_read(kind: str) -> None:
    stdin = io.BytesIO(b"one for you, the rest for others")
    assert run(kind, FIVE, stdin=stdin) == 0
    assert stdin.tell() == 5
    assert run(kind, FIVE, stdin=b"") == 0


@BOTH
def test_who_waits_for_nobody_is_found_out(kind: str) -> None:
    with pytest.raises(Trap, match="deadlock"):
        run(kind, STUCK)


@BOTH
def test_what_was_written_comes_out_of_a_guest_that_exits(kind: str) -> None:
    out = bytearray()
    assert run(kind, WRITE, stdout=out) == 7
    assert out == b"hello\n"


@BOTH
@pytest.mark.parametrize(
    ("error", "code"), [(BrokenPipeError(), 3), (OSError(5, "no"), 1), (OSError(84, "no"), 2), (ValueError(), 1)]
)
def test_errors_have_codes(kind: str, error: Exception, code: int) -> None:
    def fail(data: Any) -> bytes:
        raise error

    assert run(kind, COPY, stdin=b"x", stdout=fail) == code
    assert run(kind, COPY, stdin=fail, stdout=bytearray()) == 16 * code
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", 0) as broken:
        assert run(kind, COPY, stdin=b"x", stdout=broken) == 3


@BOTH
def test_other_errors_are_the_callers(kind: str) -> None:
    class Mistake(Exception):
        pass

    def fail(data: Any) -> bytes:
        raise Mistake

    with pytest.raises(Mistake):
        run(kind, COPY, stdin=b"x", stdout=fail)
    with pytest.raises(Mistake):
        run(kind, COPY, stdin=fail)


def test_trio_streams() -> None:
    async def main() -> None:
        give, stdin = trio.testing.memory_stream_one_way_pair()
        stdout, take = trio.testing.memory_stream_one_way_pair()
        linker = rt.Linker(engine())
        linker.define_wasi(WasiConfig(stdin=stdin, stdout=stdout))
        with trio.fail_after(20):
            async with rt.open_store(engine()) as store, trio.open_nursery() as nursery:
                instance = await linker.instantiate_async(store, component(COPY))
                nursery.start_soon(instance.exports["wasi:cli/run"].run)
                for piece in (b"one", b"two"):
                    await give.send_all(piece)
                    assert await take.receive_some() == piece
                await give.aclose()

    trio.run(main)


def test_trio_streams_need_a_trio_store() -> None:
    _, stdin = trio.testing.memory_stream_one_way_pair()
    with pytest.raises(rt.WasmError, match="trio store"):
        run("synchronous", COPY, stdin=stdin)


def test_leaving_a_store_waits_for_what_was_written() -> None:
    """A slow reader gets all of it, though the guest has exited before."""

    class Slow(trio.abc.SendStream):
        got = b""

        async def send_all(self, data: Any) -> None:
            await trio.sleep(0.02)
            self.got += data

        async def wait_send_all_might_not_block(self) -> None:
            await trio.sleep(0.02)

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    slow = Slow()
    assert run("trio", WRITE, stdout=slow) == 7
    assert slow.got == b"hello\n"


def test_a_store_that_is_cancelled_waits_for_nobody() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))

    async def main() -> None:
        linker = rt.Linker(engine())
        with os.fdopen(writer, "wb", 0) as full:
            linker.define_wasi(WasiConfig(stdin=b"x", stdout=full))
            with trio.move_on_after(0.05) as scope:
                async with rt.open_store(engine(), cancel_grace=0.01) as store:
                    instance = await linker.instantiate_async(store, component(COPY))
                    await instance.exports["wasi:cli/run"].run()
            assert scope.cancelled_caught

    with os.fdopen(reader, "rb"):
        trio.run(main)


def test_waiting_for_input_can_be_cancelled_and_nothing_is_lost() -> None:
    reader, writer = os.pipe()

    async def main() -> None:
        linker = rt.Linker(engine())
        with os.fdopen(reader, "rb", 0) as stdin:
            linker.define_wasi(WasiConfig(stdin=stdin))
            with trio.move_on_after(0.05) as scope:
                async with rt.open_store(engine(), cancel_grace=0.01) as store:
                    instance = await linker.instantiate_async(store, component(COPY))
                    await instance.exports["wasi:cli/run"].run()
            assert scope.cancelled_caught
            os.write(writer, b"still here")
            assert os.read(stdin.fileno(), 100) == b"still here"

    trio.run(main)
    os.close(writer)


# ---------------------------------------------------------------------------------------------------- the rest


def test_arguments_and_environment() -> None:
    environment = made("cli/environment", args=["a", "b"], env={"K": "v"}, initial_cwd="/there")
    assert environment.get_arguments() == ["a", "b"] and environment.get_environment() == [("K", "v")]
    assert environment.get_initial_cwd() == "/there"
    assert made("cli/environment").get_initial_cwd() is None


def test_exit_and_terminals() -> None:
    for call, code in ((("exit", rt.Ok()), 0), (("exit", rt.Err()), 1), (("exit_with_code", 9), 9)):
        with pytest.raises(GuestExit) as caught:
            getattr(made("cli/exit"), call[0])(call[1])
        assert caught.value.code == code
    assert made("cli/terminal-stdin", stdin=b"").get_terminal_stdin() is None
    leader, follower = os.openpty()
    with os.fdopen(follower, "wb", buffering=0) as terminal:
        assert made("cli/terminal-stdout", stdout=terminal).get_terminal_stdout() is not None
    os.close(leader)


@BOTH
def test_waiting(kind: str) -> None:
    each = 20_000_000
    linker = rt.Linker(engine())
    linker.define_wasi()

    async def in_trio() -> int:
        with trio.fail_after(20):
            async with rt.open_store(engine()) as store:
                return await (await linker.instantiate_async(store, component(WAITS))).exports.wait(each)  # type: ignore[no-any-return]

    if kind == "trio":
        assert trio.run(in_trio) >= each
    else:
        with rt.Store(engine()) as store:
            assert linker.instantiate(store, component(WAITS)).exports.wait(each) >= each


def test_waits_overlap_in_a_trio_store() -> None:
    """By a clock that does not move by itself: the time of all is that of the longest."""
    linker = rt.Linker(engine())
    linker.define_wasi(WasiConfig(monotonic_clock=lambda: round(trio.current_time() * 1e9)))

    async def main() -> float:
        start = trio.current_time()
        async with rt.open_store(engine()) as store:
            await (await linker.instantiate_async(store, component(WAITS))).exports.wait(50_000_000_000)
        return trio.current_time() - start

    taken = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
    assert 50 <= taken < 99


def test_clocks() -> None:
    clock = made("clocks/system-clock", wall_clock=lambda: -1)
    assert clock.now() == {"seconds": -1, "nanoseconds": 999_999_999}
    assert 0 < clock.get_resolution() <= 10**9
    monotonic = made("clocks/monotonic-clock", monotonic_clock=lambda: 17)
    assert monotonic.now() == 17 and 0 < monotonic.get_resolution() <= 10**9
    assert monotonic.wait_until(17) is None and monotonic.wait_for(0) is None
    with pytest.raises(Trap):
        made("clocks/monotonic-clock", monotonic_clock=lambda: -1).now()


def test_time_zones() -> None:
    hour, summer = 3_600_000_000_000, {"seconds": 1_750_000_000, "nanoseconds": 0}
    nowhere = made("clocks/timezone")
    assert nowhere.iana_id() is None and nowhere.utc_offset(summer) is None and nowhere.to_debug_string() == "UTC"
    try:
        zone = zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("no time zones here")
    paris = made("clocks/timezone", timezone=zone)
    assert paris.iana_id() == paris.to_debug_string() == "Europe/Paris" and paris.utc_offset(summer) == 2 * hour
    assert paris.utc_offset({"seconds": 1 << 62, "nanoseconds": 0}) is None
    fixed = made("clocks/timezone", timezone=datetime.timezone(datetime.timedelta(hours=-4)))
    assert fixed.iana_id() is None and fixed.utc_offset(summer) == -4 * hour and "-04:00" in fixed.to_debug_string()
    assert made("clocks/timezone", timezone=datetime.UTC).iana_id() == "Etc/UTC"


def test_the_hosts_own_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    local = made("clocks/timezone", timezone="local")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert local.iana_id() in ("Asia/Tokyo", None)
    monkeypatch.setenv("TZ", "../../etc/passwd")
    assert local.iana_id() is None
    assert local.to_debug_string()


def test_random() -> None:
    random = made("random/random")
    assert len(random.get_random_bytes(100)) == 100 and random.get_random_bytes(0) == b""
    assert 0 < len(random.get_random_bytes((1 << 64) - 1)) <= 1 << 20, "fewer than asked for are fine"
    assert 0 <= random.get_random_u64() < 1 << 64
    one, other = (made("random/insecure", insecure_seed=7) for _ in range(2))
    assert one.get_insecure_random_bytes(10) == other.get_insecure_random_bytes(10)
    assert one.get_insecure_random_u64() == other.get_insecure_random_u64()
    assert 0 < len(one.get_insecure_random_bytes(1 << 40)) <= 1 << 20
    seed = made("random/insecure-seed")
    assert seed.get_insecure_seed() == seed.get_insecure_seed() and len(seed.get_insecure_seed()) == 2
