"""wasi:io, and the standard streams over everything a host may give."""

from __future__ import annotations

import io as python_io
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from component_rt.values import Case, Err
from component_rt.wasi import WasiConfig, cli, io
from component_rt.wasi.dual import Dual
from component_rt.wasi.io import InputStream, IoError, OutputStream
from component_rt.wasi.pollable import ALWAYS, Notice, Pollable, wait_any, wait_any_sync
from component_rt.wasi.stdio import BytesInput
from core_rt.errors import Trap, WasmError

CLOSED = Case("closed")


def stdin(what: Any) -> InputStream:
    return cli.interfaces(WasiConfig(stdin=what))["wasi:cli/stdin"].get_stdin()  # type: ignore[attr-defined,no-any-return]


def stdout(what: Any) -> OutputStream:
    return cli.interfaces(WasiConfig(stdout=what))["wasi:cli/stdout"].get_stdout()  # type: ignore[attr-defined,no-any-return]


def read_all(stream: InputStream) -> bytes:
    data = b""
    while True:
        try:
            data += stream.blocking_read(3)
        except Err as end:
            assert end.value == CLOSED
            return data


# ---- inputs ----------------------------------------------------------------------------------------------------------


def pieces(*data: bytes) -> Any:
    rest = list(data)
    return lambda count: rest.pop(0) if rest else b""


@pytest.mark.parametrize(
    "make",
    [
        lambda path: b"hello world",
        lambda path: bytearray(b"hello world"),
        lambda path: python_io.BytesIO(b"hello world"),
        lambda path: python_io.StringIO("hello world"),
        lambda path: path.open("rb"),
        lambda path: path.open("r"),
        lambda path: pieces(b"hello ", b"w", b"orld"),
    ],
)
def test_inputs(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"hello world")
    what = make(path)
    assert read_all(stdin(what)) == b"hello world"
    if hasattr(what, "close"):
        what.close()


def test_no_input_is_an_empty_one() -> None:
    stream = stdin(None)
    assert stream.read(0) == b""
    assert stream.subscribe().ready()
    assert read_all(stream) == b""
    with pytest.raises(Err):
        stream.read(0)


def test_everybody_gets_the_same_stdin() -> None:
    interface: Any = cli.interfaces(WasiConfig(stdin=b"abcd"))["wasi:cli/stdin"]
    assert interface.get_stdin().read(2) == b"ab"
    interface.get_stdin().close()
    assert interface.get_stdin().read(2) == b"cd"


def test_a_pipe_has_nothing_until_it_has() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        stream = stdin(file)
        assert stream.read(10) == b"" and not stream.subscribe().ready()
        os.write(writer, b"abc")
        assert stream.subscribe().ready()
        assert stream.skip(1) == 1
        assert stream.read(10) == b"bc"
        threading.Timer(0.02, os.write, (writer, b"late")).start()
        assert stream.blocking_read(10) == b"late"
        os.close(writer)
        assert stream.subscribe().ready()
        with pytest.raises(Err):
            stream.blocking_skip(1)


def test_wrong_things_are_refused_when_configuring() -> None:
    with pytest.raises(TypeError, match="stdin: wanted"):
        stdin("text")
    with pytest.raises(TypeError, match="stdin: wanted"):
        stdin(3)
    with pytest.raises(TypeError, match="stdout: wanted"):
        stdout(b"bytes cannot grow")
    with pytest.raises(TypeError, match="args"):
        WasiConfig(args="ab")
    with pytest.raises(ValueError, match="NUL"):
        WasiConfig(args=["a\0"])
    with pytest.raises(ValueError, match="cannot name"):
        WasiConfig(env={"a=b": "c"})
    with pytest.raises(ValueError, match="network"):
        WasiConfig(network="some")


# ---- outputs ---------------------------------------------------------------------------------------------------------


def test_outputs(tmp_path: Path) -> None:
    got: list[bytes] = []
    array, memory, text = bytearray(), python_io.BytesIO(), python_io.StringIO()
    with (tmp_path / "out").open("wb") as file, (tmp_path / "text").open("w") as named:
        named.write("before ")
        for what in (got.append, array, memory, text, file, named, None):
            stream = stdout(what)
            assert stream.check_write() > 0
            stream.write(b"gr")
            stream.write("ü".encode()[:1])
            stream.flush()
            stream.blocking_write_and_flush("ü".encode()[1:] + b"n")
            assert stream.subscribe().ready()
    assert b"".join(got) == bytes(array) == memory.getvalue() == (tmp_path / "out").read_bytes() == "grün".encode()
    assert text.getvalue() == "grün" and (tmp_path / "text").read_bytes() == "before grün".encode()


def test_a_full_pipe_holds_back() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        stream = stdout(file)
        sent = 0
        while permit := stream.check_write():
            stream.write(b"x" * permit)
            sent += permit
        assert not stream.subscribe().ready()
        with pytest.raises(Trap, match="check-write allowed 0"):
            stream.write(b"x")
        total = sent + 10_000
        got = bytearray()

        def drain() -> None:
            while len(got) < total:
                got.extend(os.read(reader, 5000))

        thread = threading.Thread(target=drain)
        thread.start()
        stream.blocking_write_and_flush(b"y" * 10_000)
        thread.join()
        assert bytes(got) == b"x" * sent + b"y" * 10_000
        os.close(reader)
        with pytest.raises(Err) as caught:
            stream.blocking_write_and_flush(b"gone")
        assert caught.value.value == CLOSED


def test_errors_say_what_happened_and_close() -> None:
    def broken(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    stream = stdout(broken)
    with pytest.raises(Err) as caught:
        stream.blocking_write_and_flush(b"x")
    assert caught.value.value.label == "last-operation-failed"
    assert caught.value.value.value.to_debug_string() == "No space left on device"
    with pytest.raises(Err) as caught:
        stream.check_write()
    assert caught.value.value == CLOSED
    assert stream.subscribe().ready()
    assert IoError(KeyError()).to_debug_string() == "KeyError"


def test_zeroes_and_splices() -> None:
    out = bytearray()
    stream = stdout(out)
    with pytest.raises(Trap):
        stream.write_zeroes(1)
    stream.check_write()
    stream.write_zeroes(3)
    stream.blocking_write_zeroes_and_flush(100_000)
    assert out == bytes(100_003)
    out.clear()
    source = BytesInput(b"abcdef")
    assert stream.splice(source, 2) == 2
    assert stream.blocking_splice(source, 100) == 4
    assert bytes(out) == b"abcdef"
    with pytest.raises(Err):
        stream.blocking_splice(source, 1)


# ---- polling ---------------------------------------------------------------------------------------------------------


def test_polling_waits_for_the_first_and_tells_all_that_are_ready() -> None:
    poll = io.Poll()
    late, ready = Notice(), Pollable(ALWAYS)
    assert poll.poll([Pollable(late), ready, ready]) == [1, 2]
    threading.Timer(0.02, late.set).start()
    assert poll.poll([Pollable(late), Pollable(Notice())]) == [0]
    late.clear()
    assert not Pollable(late).ready()
    with pytest.raises(Trap, match="empty poll list"):
        poll.poll([])


def test_notices_are_cheap_to_repeat() -> None:
    notice = Notice()
    for _ in range(3):
        notice.set()
        notice.set()
        assert wait_any_sync((notice,)) == [0]
        notice.clear()
        notice.clear()
        assert not notice.ready()


def test_pairs_look_like_functions() -> None:
    import inspect

    pair = Pollable.__dict__["block"]
    assert isinstance(pair, Dual) and pair.__name__ == "block" and pair.__doc__
    assert list(inspect.signature(pair).parameters) == ["self"]
    pollable = Pollable(ALWAYS)
    assert list(inspect.signature(pollable.block).parameters) == []
    pollable.block()
    pollable.block.sync()
    trio.run(pollable.block.awaited)


# ---- trio ------------------------------------------------------------------------------------------------------------


def run(main: Any) -> None:
    async def limited() -> None:
        with trio.fail_after(5):
            await main()

    trio.run(limited)


def test_trio_streams() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        source, sink = stdin(ours), stdout(ours)
        poll = io.Poll().poll.awaited
        timer = Pollable(_After(0.01))
        assert await poll([source.subscribe(), timer]) == [1]
        await theirs.send_all(b"in")
        assert await poll([source.subscribe()]) == [0]
        assert source.read(10) == b"in"
        sink.check_write()
        sink.write(b"buffered ")
        await sink.blocking_write_and_flush.awaited(b"out")
        assert await theirs.receive_some() == b"buffered out"
        await theirs.send_eof()
        with pytest.raises(Err):
            await source.blocking_read.awaited(1)
        await theirs.aclose()
        with pytest.raises(Err):
            await sink.blocking_write_and_flush.awaited(b"x")

    run(main)


def test_a_trio_output_that_nobody_reads_holds_back() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.lockstep_stream_pair()
        sink = stdout(ours)
        while permit := sink.check_write():
            sink.write(b"x" * permit)
        assert not sink.subscribe().ready()
        got = bytearray()

        async def drain() -> None:
            async for piece in theirs:
                got.extend(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await sink.subscribe().block.awaited()
            await sink.blocking_write_and_flush.awaited(b"end")
            await ours.aclose()
        assert got.endswith(b"xend") and len(got) > 60_000

    run(main)


def test_trio_streams_need_a_trio_store() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(WasmError, match="open_store"):
        stdin(ours).blocking_read(1)
    sink = stdout(ours)
    with pytest.raises(WasmError, match="open_store"):
        sink.blocking_write_and_flush(b"x")


class _After:
    """Ready some seconds after it was made."""

    def __init__(self, seconds: float) -> None:
        self._when = time.monotonic() + seconds

    def ready(self) -> bool:
        return time.monotonic() >= self._when

    def wake(self) -> Any:
        raise NotImplementedError

    async def wait(self) -> None:
        await trio.sleep(max(self._when - time.monotonic(), 0))


def test_one_waits_and_others_run() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await trio.sleep(0.001)
                ticks += 1

        with os.fdopen(reader, "rb") as file:
            stream = stdin(file)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                with trio.move_on_after(0.05):
                    await stream.blocking_read.awaited(1)
                os.write(writer, b"x")
                assert await stream.blocking_read.awaited(1) == b"x"
                nursery.cancel_scope.cancel()
            os.close(writer)
        assert ticks

    run(main)


def test_waiting_for_many_is_cancelled_cleanly() -> None:
    async def main() -> None:
        notices = [Notice() for _ in range(5)]
        with trio.move_on_after(0.01) as scope:
            await wait_any(notices)
        assert scope.cancelled_caught
        notices[3].set()
        assert await wait_any(notices) == [3]

    run(main)


def test_waits_can_be_interrupted() -> None:
    from component_rt.wasi.pollable import check_interrupt, interruptible

    class Enough(Exception):
        pass

    seen = []

    def check() -> None:
        seen.append(1)
        if len(seen) == 2:
            raise Enough

    with pytest.raises(Enough), interruptible(lambda: None), interruptible(check):
        wait_any_sync((Notice(),))
    check_interrupt()
    assert len(seen) == 2
