"""`wasi:filesystem` 0.3, as a guest sees it: every call goes through a component, in stores of both kinds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import component_rt as rt
from component_rt.wasi import Dir, WasiConfig, interfaces
from component_rt.wasi.p3 import filesystem

from .mirror import METHODS, component, engine

OK = rt.Ok(None)
LATE = 253402300799


@attrs.frozen
class Guest:
    """The guest's functions, and what it was granted."""

    api: Any
    root: Any
    path: Path
    linker: rt.Linker

    def open(self, path: str, how: set[str] | None = None, flags: set[str] | None = None, follow: bool = False) -> Any:
        return self.api.open_at(self.root, {"symlink-follow"} if follow else set(), path, how or set(), flags or set())


def linked(path: Path, mode: Any = "rw", **grants: Any) -> tuple[rt.Linker, Any]:
    """A linker with WASI, and the granted directory."""
    found = interfaces(WasiConfig(preopens={"/": Dir(path, mode)}, **grants))
    linker = rt.Linker(engine())
    for name, interface in found.items():
        linker.define(name, interface)
    preopens: Any = found["wasi:filesystem/preopens@0.3.0"]
    ((root, guest_path),) = preopens.make().get_directories()
    assert guest_path == "/"
    return linker, root


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    linker, root = linked(tmp_path)
    with rt.Store(engine()) as store:
        yield Guest(linker.instantiate(store, component()).exports, root, tmp_path, linker)


def code(call: Any, *args: Any) -> Any:
    """The error code that a call ends with, by its name."""
    with pytest.raises(rt.Err) as caught:
        call(*args)
    return caught.value.value.label


def failure(future: Any) -> Any:
    outcome = future.get()
    return outcome.value.label if hasattr(outcome.value, "label") else outcome.value


def test_every_method_is_there() -> None:
    names = {name.replace("_", "-") for name in dir(filesystem.Descriptor) if not name.startswith("_")}
    assert {method.name for method in METHODS} <= names


def test_reading(guest: Guest) -> None:
    data = bytes(range(256)) * 4000
    (guest.path / "file").write_bytes(data)
    file = guest.open("file", flags={"read"})
    stream, future = guest.api.read_via_stream(file, 0)
    assert b"".join(stream) == data and future.get() == OK
    stream, future = guest.api.read_via_stream(file, len(data) - 3)
    assert b"".join(stream) == data[-3:] and future.get() == OK
    stream, future = guest.api.read_via_stream(file, len(data) + 17)
    assert list(stream) == [] and future.get() == OK
    stream, future = guest.api.read_via_stream(file, 0)
    stream.close()
    assert future.get() == OK, "whoever reads no more is told of no error"


def test_reading_that_fails(guest: Guest) -> None:
    (guest.path / "file").touch()
    for descriptor, offset, wanted in (
        (guest.open("file", flags={"read"}), (1 << 64) - 1, "invalid"),
        (guest.open("file", flags={"write"}), 0, "bad-descriptor"),
        (guest.root, 0, "is-directory"),
    ):
        stream, future = guest.api.read_via_stream(descriptor, offset)
        assert list(stream) == [] and failure(future) == wanted


def test_nothing_is_read_ahead(guest: Guest) -> None:
    """A stream brings what is in the file when it is read, not when it was opened."""
    (guest.path / "file").write_text("before")
    stream, _ = guest.api.read_via_stream(guest.open("file", flags={"read"}), 0)
    (guest.path / "file").write_text("after!")
    assert next(stream) == b"after!"


def test_writing(guest: Guest) -> None:
    file = guest.open("file", {"create", "exclusive"}, {"read", "write"})
    write, append = guest.api.write_via_stream, guest.api.append_via_stream
    assert write(file, [b"hello", b" world"], 2).get() == OK
    assert (guest.path / "file").read_bytes() == b"\0\0hello world"
    assert write(file, b"HE", 2).get() == OK
    assert append(file, b"!").get() == OK
    assert (guest.path / "file").read_bytes() == b"\0\0HEllo world!"
    big = os.urandom(1 << 20)
    assert write(file, big, 0).get() == OK and (guest.path / "file").read_bytes() == big


def test_writing_that_fails(guest: Guest) -> None:
    (guest.path / "file").write_text("x")
    assert failure(guest.api.write_via_stream(guest.open("file", flags={"read"}), b"y", 0)) == "bad-descriptor"
    assert failure(guest.api.append_via_stream(guest.root, b"y")) == "is-directory"
    file = guest.open("file", flags={"write"})
    assert failure(guest.api.write_via_stream(file, b"y", 1 << 63)) == "invalid"
    assert failure(guest.api.write_via_stream(file, b"yz", (1 << 63) - 2)) in ("file-too-large", "invalid")
    assert (guest.path / "file").read_text() == "x"


def test_a_stream_outlives_its_descriptor(guest: Guest) -> None:
    (guest.path / "file").write_text("text")
    file = guest.open("file", flags={"read"})
    stream, future = guest.api.read_via_stream(file, 0)
    file.close()
    assert b"".join(stream) == b"text" and future.get() == OK
    assert code(guest.api.stat, file) == "bad-descriptor"


def test_pipes_are_read_and_written_as_they_come(guest: Guest) -> None:
    os.mkfifo(guest.path / "pipe")
    other = os.open(guest.path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    pipe = guest.open("pipe", flags={"read", "write"})
    assert guest.api.get_type(pipe).label == "fifo"
    assert guest.api.write_via_stream(pipe, b"out", 0).get() == OK
    assert os.read(other, 10) == b"out"
    os.write(other, b"in")
    stream, _ = guest.api.read_via_stream(pipe, 0)
    assert next(stream) == b"in"
    stream.close()
    os.close(other)


def test_directories(guest: Guest) -> None:
    names = {f"file {i}" for i in range(600)}
    for name in names:
        (guest.path / name).touch()
    (guest.path / "dir").mkdir()
    (guest.path / "link").symlink_to("..")
    stream, future = guest.api.read_directory(guest.root)
    found = {entry["name"]: entry["type"] for entry in stream}
    assert future.get() == OK
    assert found.pop("dir") == "directory" and found.pop("link") == "symbolic-link"
    assert found == dict.fromkeys(names, "regular-file")
    stream, future = guest.api.read_directory(guest.open("file 7", flags={"read"}))
    assert list(stream) == [] and failure(future) == "not-directory"


def test_names_that_are_no_text(guest: Guest) -> None:
    try:
        os.close(os.open(os.fsencode(guest.path) + b"/\xff", os.O_CREAT))
    except OSError:
        pytest.skip("this file system has text only")
    (guest.path / "good").touch()
    stream, future = guest.api.read_directory(guest.root)
    assert [entry["name"] for entry in stream] == ["good"]
    assert failure(future) == "illegal-byte-sequence"


def test_flags(guest: Guest) -> None:
    def flags(descriptor: Any) -> set[str]:
        return {flag.name.lower().replace("_", "-") for flag in guest.api.get_flags(descriptor)}

    (guest.path / "file").touch()
    assert flags(guest.root) == {"read", "mutate-directory"}
    assert flags(guest.open(".")) == {"read"}
    assert flags(guest.open(".", {"directory"}, {"mutate-directory"})) == {"read", "mutate-directory"}
    assert flags(guest.open("file")) == {"read"}
    assert flags(guest.open("file", {"exclusive"})) == {"read"}
    assert flags(guest.open("file", flags={"write"})) == {"write"}
    for number, (wanted, given) in enumerate((((), "read write"), (("read",), "read write"), (("write",), "write"))):
        assert flags(guest.open(f"new {number}", {"create"}, set(wanted))) == set(given.split())


def test_status_and_times(guest: Guest) -> None:
    (guest.path / "file").write_text("12345")
    (guest.path / "link").symlink_to("file")
    file = guest.open("file", flags={"read", "write"})
    status = guest.api.stat(file)
    assert status.type.label == "regular-file" and status.size == 5 and status.link_count == 1
    assert guest.api.stat_at(guest.root, set(), "link").type.label == "symbolic-link"
    assert guest.api.stat_at(guest.root, {"symlink-follow"}, "link") == guest.api.stat(file)
    early = rt.Case("timestamp", {"seconds": -1, "nanoseconds": 999_999_999})
    late = rt.Case("timestamp", {"seconds": LATE, "nanoseconds": 5})
    guest.api.set_times(file, early, "no-change")
    guest.api.set_times_at(guest.root, {"symlink-follow"}, "link", "no-change", late)
    status = guest.api.stat(file)
    access, modification = status.data_access_timestamp, status.data_modification_timestamp
    assert (access.seconds, access.nanoseconds) == (-1, 999_999_999), "there are times before 1970"
    assert modification.seconds in (LATE, os.stat(guest.path / "file").st_mtime_ns // 10**9)
    wrong = rt.Case("timestamp", {"seconds": 0, "nanoseconds": 10**9})
    assert code(guest.api.set_times, file, wrong, "now") == "invalid"
    guest.api.set_size(file, 2)
    assert (guest.path / "file").read_text() == "12"
    assert code(guest.api.set_size, file, (1 << 64) - 1) == "invalid"
    assert code(guest.api.set_size, guest.open("file", flags={"read"}), 1) == "bad-descriptor"


def test_names(guest: Guest) -> None:
    api, root = guest.api, guest.root
    api.create_directory_at(root, "dir")
    (guest.path / "file").write_text("x")
    api.link_at(root, set(), "file", root, "dir/hard")
    api.symlink_at(root, "dir/hard", "soft")
    assert api.readlink_at(root, "soft") == "dir/hard"
    inside = guest.open("dir", {"directory"}, {"mutate-directory"})
    api.rename_at(root, "file", inside, "moved")
    assert sorted(os.listdir(guest.path / "dir")) == ["hard", "moved"]
    hard, moved = (api.open_at(inside, set(), name, set(), {"read"}) for name in ("hard", "moved"))
    assert api.is_same_object(hard, moved) and not api.is_same_object(hard, root)
    assert api.metadata_hash(hard) == api.metadata_hash_at(root, set(), "dir/moved") != api.metadata_hash(root)
    assert code(api.remove_directory_at, root, "dir") == "not-empty"
    assert code(api.unlink_file_at, root, "dir") == "is-directory"
    for name in ("hard", "moved"):
        api.unlink_file_at(inside, name)
    api.remove_directory_at(root, "dir/")
    assert os.listdir(guest.path) == ["soft"]
    assert code(api.stat_at, hard, set(), "x") == "not-directory"


@pytest.mark.parametrize("path", ["..", "/", "/etc/passwd", "out", "out/x", "dir/../../x"])
def test_nothing_leads_out(guest: Guest, path: str) -> None:
    api, root = guest.api, guest.root
    (guest.path / "dir").mkdir()
    (guest.path / "out").symlink_to("..")
    (guest.path / "file").touch()
    follow = {"symlink-follow"}
    calls = [
        (api.open_at, follow, path, set(), {"read"}),
        (api.stat_at, follow, path),
        (api.metadata_hash_at, follow, path),
        (api.set_times_at, follow, path, "now", "now"),
    ]
    if path != "out":
        calls += [
            (api.create_directory_at, path),
            (api.unlink_file_at, path),
            (api.remove_directory_at, path),
            (api.rename_at, path, root, "new"),
            (api.rename_at, "file", root, path),
            (api.link_at, set(), "file", root, path),
            (api.symlink_at, "file", path),
        ]
    for call, *args in calls:
        assert code(call, root, *args) == "not-permitted", (call, args)
    assert code(api.remove_directory_at, root, "out/") == "not-permitted"
    assert code(api.symlink_at, root, "/etc", "in") == "not-permitted"


def test_what_was_granted_for_reading(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    linker, root = linked(tmp_path, "ro")
    with rt.Store(engine()) as store:
        api = linker.instantiate(store, component()).exports
        for how, flags in (("create", "read"), ("truncate", "read"), (None, "write"), (None, "mutate-directory")):
            assert code(api.open_at, root, set(), "file", {how} - {None}, {flags}) == "read-only"
        file = api.open_at(root, set(), "file", set(), {"read"})
        inner = api.open_at(root, set(), "dir", {"directory"}, {"read"})
        calls = [
            (api.create_directory_at, root, "new"),
            (api.create_directory_at, inner, "new"),
            (api.unlink_file_at, root, "file"),
            (api.remove_directory_at, root, "dir"),
            (api.rename_at, root, "file", inner, "file"),
            (api.link_at, root, set(), "file", inner, "file"),
            (api.symlink_at, root, "file", "link"),
            (api.set_times, file, "now", "now"),
            (api.set_times_at, root, set(), "file", "now", "now"),
        ]
        for call, *args in calls:
            assert code(call, *args) == "read-only", call
        assert failure(api.write_via_stream(file, b"y", 0)) == "bad-descriptor"
        assert b"".join(api.read_via_stream(file, 0)[0]) == b"x"


def test_advice_and_synchronizing(guest: Guest) -> None:
    file = guest.open("file", {"create"}, {"write", "data-integrity-sync"})
    assert guest.api.write_via_stream(file, b"x", 0).get() == OK
    for advice in ("normal", "sequential", "random", "will-need", "dont-need", "no-reuse"):
        guest.api.advise(file, 0, 10, advice)
    assert code(guest.api.advise, guest.root, 0, 0, "normal") == "bad-descriptor"
    guest.api.sync(file)
    guest.api.sync_data(file)
    guest.api.sync(guest.open("file", flags={"read"}))


def test_errors_without_a_name(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> Any:
        def call(*args: Any) -> None:
            raise OSError(number, os.strerror(number))

        return call

    file = guest.open("file", {"create"}, {"write"})
    monkeypatch.setattr(os, "ftruncate", fail(errno.EMFILE))
    with pytest.raises(rt.Err) as caught:
        guest.api.set_size(file, 1)
    assert (caught.value.value.label, caught.value.value.value) == ("other", os.strerror(errno.EMFILE))
    monkeypatch.setattr(os, "ftruncate", fail(errno.EAGAIN))
    assert code(guest.api.set_size, file, 1) == "other", "0.3 has no would-block"


def test_open_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    linker, root = linked(tmp_path, max_open=1)
    with rt.Store(engine()) as store:
        api = linker.instantiate(store, component()).exports
        file = api.open_at(root, set(), "file", set(), {"read"})
        assert code(api.open_at, root, set(), "file", set(), {"read"}) == "other"
        stream, future = api.read_directory(root)
        assert list(stream) == [] and failure(future) == "other"
        file.close()
        api.open_at(root, set(), "file", set(), {"read"})


# ---------------------------------------------------------------------------------------------------- trio


def in_trio(path: Path, test: Any) -> None:
    async def main() -> None:
        linker, root = linked(path)
        with trio.fail_after(20):
            async with rt.open_store(engine()) as store:
                await test((await linker.instantiate_async(store, component())).exports, root)

    trio.run(main)


async def whole(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize("answer", ["now", errno.EAGAIN, errno.EOPNOTSUPP], ids=["cached", "waits", "cannot tell"])
def test_a_trio_store_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """What is not in the kernel's memory is read in a thread."""
    data = os.urandom(600_000)
    (tmp_path / "file").write_bytes(data)
    threads: list[str] = []
    if answer != "now":

        def refuse(*args: Any) -> None:
            raise OSError(answer, os.strerror(answer))

        monkeypatch.setattr(os, "preadv", refuse)
    run_sync = trio.to_thread.run_sync

    async def in_thread(function: Any, *args: Any) -> Any:
        threads.append(function.__name__)
        return await run_sync(function, *args)

    monkeypatch.setattr(trio.to_thread, "run_sync", in_thread)

    async def test(api: Any, root: Any) -> None:
        file = await api.open_at(root, set(), "file", set(), {"read", "write"})
        stream, future = await api.read_via_stream(file, 100)
        assert await whole(stream) == data[100:] and await future == OK
        assert ("pread" in threads) == (answer != "now")
        stream, future = await api.read_via_stream(file, 0)
        assert await stream.receive_some(10) == data[:10]
        await stream.aclose()
        assert await future == OK

        async def source() -> Any:
            for piece in (b"abc", b"def"):
                await trio.sleep(0.001)
                yield piece

        assert await (await api.write_via_stream(file, source(), 0)) == OK
        assert (tmp_path / "file").read_bytes()[:7] == b"abcdef" + data[6:7]
        careful = await api.open_at(root, set(), "file", set(), {"write", "file-integrity-sync"})
        assert await (await api.append_via_stream(careful, b"end")) == OK
        assert "put" in threads, "who writes synchronously waits for the disk in a thread"
        assert (tmp_path / "file").read_bytes()[-3:] == b"end"

    in_trio(tmp_path, test)


def test_a_trio_store_fails_as_others_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def test(api: Any, root: Any) -> None:
        file = await api.open_at(root, set(), "file", set(), {"read"})
        outcome = await (await api.write_via_stream(file, b"x", 0))
        assert outcome.value == "bad-descriptor"
        stream, future = await api.read_via_stream(file, 1 << 63)
        assert await whole(stream) == b"" and (await future).value == "invalid"
        with pytest.raises(rt.Err):
            await api.stat_at(root, set(), "none")
        await api.sync(file)

    in_trio(tmp_path, test)


def test_a_file_is_copied_without_the_guest(tmp_path: Path) -> None:
    """A stream that a guest has got from the host may go back to it: the loop still has its turn meanwhile."""
    data = os.urandom(1 << 20) * 40
    (tmp_path / "from").write_bytes(data)
    turns = 0

    async def test(api: Any, root: Any) -> None:
        source = await api.open_at(root, set(), "from", set(), {"read"})
        target = await api.open_at(root, set(), "to", {"create"}, {"write"})

        async def tick() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            stream, read = await api.read_via_stream(source, 0)
            assert await (await api.write_via_stream(target, stream, 0)) == OK
            assert await read == OK
            nursery.cancel_scope.cancel()

    in_trio(tmp_path, test)
    assert (tmp_path / "to").read_bytes() == data
    assert turns > 4
