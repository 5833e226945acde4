"""WASI 0.1 driven directly: each function gets guest pointers into a memory, as a module would pass them."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from component_rt.wasi import WasiConfig
from component_rt.wasi.config import Dir
from component_rt.wasi.preview1 import Preview1
from component_rt.wasi.preview1.abi import ERRNO, EVENT, RIGHTS, SIGNATURES
from core_rt.errors import GuestExit

ALL = (1 << 30) - 1
OK = 0


class FakeMemory:
    """What `Preview1` uses of a memory."""

    def __init__(self, size: int) -> None:
        self.data = memoryview(bytearray(size))


class Guest:
    """Puts strings into memory and calls functions by name; `heap` grows upwards from 1024, results go to 0..1023."""

    def __init__(self, **options: Any) -> None:
        self.wasi = Preview1(WasiConfig(**options))
        memory: Any = FakeMemory(1 << 16)
        self.wasi.memory = memory
        self.data = memory.data
        self.heap = 1024

    def call(self, name: str, *args: int) -> int:
        return self.wasi._guarded(name)(*args)

    def put(self, data: bytes) -> tuple[int, int]:
        start = self.heap
        self.data[start : start + len(data)] = data
        self.heap += len(data) + (-len(data)) % 8
        return start, len(data)

    def vectors(self, *lengths: int) -> tuple[int, int, list[int]]:
        starts = []
        for length in lengths:
            starts.append(self.put(bytes(length))[0])
        table, _ = self.put(b"".join(struct.pack("<II", s, n) for s, n in zip(starts, lengths)))
        return table, len(lengths), starts

    def u32(self, at: int = 0) -> int:
        return int(struct.unpack_from("<I", self.data, at)[0])

    def u64(self, at: int = 0) -> int:
        return int(struct.unpack_from("<Q", self.data, at)[0])

    def open(self, path: str, flags: int = 0, rights: int = ALL, how: int = 0, look: int = 1) -> int:
        assert self.call("path_open", 3, look, *self.put(path.encode()), how, rights, rights, flags, 0) == OK
        return self.u32()

    def read(self, fd: int, length: int = 100) -> bytes:
        table, count, (start,) = self.vectors(length)
        assert self.call("fd_read", fd, table, count, 0) == OK
        return bytes(self.data[start : start + self.u32()])

    def write(self, fd: int, *pieces: bytes) -> int:
        table, count, starts = self.vectors(*map(len, pieces))
        for start, piece in zip(starts, pieces):
            self.data[start : start + len(piece)] = piece
        return self.call("fd_write", fd, table, count, 0)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    (tmp_path / "in.txt").write_text("hello world")
    (tmp_path / "sub").mkdir()
    os.symlink("in.txt", tmp_path / "link")
    os.symlink("/etc/passwd", tmp_path / "out")
    return Guest(preopens={"/d": Dir(tmp_path, "rw")}, args=["prog", "ä"], env={"K": "v"}, stdin=b"typed")


def test_arguments_and_environment(guest: Guest) -> None:
    assert guest.call("args_sizes_get", 0, 4) == OK
    assert (guest.u32(0), guest.u32(4)) == (2, 8)
    assert guest.call("args_get", 16, 64) == OK
    assert guest.u32(16) == 64 and guest.u32(20) == 69
    assert bytes(guest.data[64:72]) == b"prog\0\xc3\xa4\0"
    assert guest.call("environ_sizes_get", 0, 4) == OK and (guest.u32(0), guest.u32(4)) == (1, 4)
    assert guest.call("environ_get", 16, 64) == OK and bytes(guest.data[64:68]) == b"K=v\0"


def test_preopens_are_found_by_counting_up(guest: Guest) -> None:
    assert guest.call("fd_prestat_get", 3, 0) == OK
    assert (guest.u32(0), guest.u32(4)) == (0, 2)
    assert guest.call("fd_prestat_dir_name", 3, 16, 2) == OK and bytes(guest.data[16:18]) == b"/d"
    assert guest.call("fd_prestat_dir_name", 3, 16, 1) == ERRNO["nametoolong"]
    assert guest.call("fd_prestat_get", 4, 0) == ERRNO["badf"]
    assert guest.call("fd_prestat_get", 1, 0) == ERRNO["badf"]


def test_files(guest: Guest, tmp_path: Path) -> None:
    fd = guest.open("in.txt")
    assert guest.read(fd, 5) == b"hello" and guest.read(fd) == b" world" and guest.read(fd) == b""
    assert guest.call("fd_seek", fd, -5 & (1 << 64) - 1, 2, 0) == OK and guest.u64() == 6
    assert guest.read(fd) == b"world"
    assert guest.call("fd_tell", fd, 0) == OK and guest.u64() == 11
    assert guest.call("fd_seek", fd, -1, 0, 0) == ERRNO["inval"]
    assert guest.call("fd_seek", fd, 0, 3, 0) == ERRNO["inval"]
    assert guest.call("fd_seek", fd, 0, 0, 0) == OK
    assert guest.write(fd, b"HE", b"", b"LL") == OK and guest.u32() == 4
    assert (tmp_path / "in.txt").read_text() == "HELLo world"
    table, count, (start,) = guest.vectors(3)
    assert guest.call("fd_pread", fd, table, count, 1, 0) == OK and bytes(guest.data[start : start + 3]) == b"ELL"
    assert guest.call("fd_pwrite", fd, table, count, 8, 0) == OK
    assert (tmp_path / "in.txt").read_text() == "HELLo woELL"
    assert guest.call("fd_filestat_set_size", fd, 2) == OK
    assert guest.call("fd_allocate", fd, 0, 5) == OK
    assert (tmp_path / "in.txt").read_bytes() == b"HE\0\0\0"
    assert guest.call("fd_filestat_get", fd, 0) == OK
    assert (guest.data[16], guest.u64(32)) == (4, 5)
    assert guest.call("fd_advise", fd, 0, 0, 3) == guest.call("fd_sync", fd) == guest.call("fd_datasync", fd) == OK
    assert guest.call("fd_advise", fd, 0, 0, 9) == ERRNO["inval"]
    assert guest.call("fd_close", fd) == OK and guest.call("fd_close", fd) == ERRNO["badf"]


def test_appending(guest: Guest, tmp_path: Path) -> None:
    fd = guest.open("log", flags=1, how=1)
    assert guest.write(fd, b"one") == OK
    (tmp_path / "log").write_text("replaced")
    assert guest.write(fd, b"two") == OK
    assert (tmp_path / "log").read_text() == "replacedtwo"
    assert guest.call("fd_fdstat_get", fd, 0) == OK and guest.data[2] == 1
    assert guest.call("fd_fdstat_set_flags", fd, 0) == OK
    assert guest.call("fd_seek", fd, 0, 0, 0) == OK and guest.write(fd, b"XX") == OK
    assert (tmp_path / "log").read_text() == "XXplacedtwo"
    assert guest.call("fd_fdstat_set_flags", fd, 16) == ERRNO["notsup"]


def test_rights_say_how_a_file_is_opened(guest: Guest) -> None:
    reader = guest.open("in.txt", rights=RIGHTS["fd_read"])
    assert guest.write(reader, b"x") == ERRNO["badf"]
    writer = guest.open("in.txt", rights=RIGHTS["fd_write"])
    table, count, _ = guest.vectors(1)
    assert guest.call("fd_read", writer, table, count, 0) == ERRNO["badf"]
    assert guest.call("fd_fdstat_set_rights", reader, ALL, 0) == ERRNO["notcapable"]
    assert guest.call("fd_fdstat_set_rights", reader, 0, 0) == OK
    directory = guest.open("sub", rights=ALL & ~RIGHTS["fd_write"], how=2)
    assert guest.call("fd_fdstat_get", directory, 0) == OK and guest.data[0] == 3
    assert guest.call("path_open", 3, 1, *guest.put(b"sub"), 2, ALL, ALL, 0, 0) == ERRNO["isdir"]


def test_rights_that_were_given_up_are_gone(guest: Guest) -> None:
    fd = guest.open("in.txt")
    assert guest.call("fd_fdstat_set_rights", fd, RIGHTS["fd_read"], 0) == OK
    assert guest.read(fd, 1) == b"h"
    assert guest.write(fd, b"x") == guest.call("fd_seek", fd, 0, 0, 0) == ERRNO["notcapable"]
    # What a directory may no longer pass on, nothing opened from it has.
    rights = RIGHTS["path_open"] | RIGHTS["path_rename_source"]
    assert guest.call("fd_fdstat_set_rights", 3, rights, ALL & ~RIGHTS["fd_write"]) == OK
    assert guest.write(guest.open("in.txt"), b"x") == ERRNO["notcapable"]
    name = guest.put(b"in.txt")
    assert guest.call("path_rename", 3, *name, 3, *name) == ERRNO["notcapable"]
    assert guest.call("path_symlink", *name, 3, *name) == ERRNO["notcapable"]
    for how in (1, 8):
        assert guest.call("path_open", 3, 1, *name, how, ALL, ALL, 0, 0) == ERRNO["notcapable"]


def test_names(guest: Guest, tmp_path: Path) -> None:
    def path(name: str) -> tuple[int, int]:
        return guest.put(name.encode())

    assert guest.call("path_create_directory", 3, *path("new")) == OK
    assert guest.call("path_rename", 3, *path("in.txt"), 3, *path("new/moved")) == OK
    assert guest.call("path_link", 3, 0, *path("new/moved"), 3, *path("again")) == OK
    assert guest.call("path_symlink", *path("again"), 3, *path("soft")) == OK
    assert guest.call("path_readlink", 3, *path("soft"), 64, 3, 0) == OK
    assert guest.u32() == 3 and bytes(guest.data[64:67]) == b"aga"
    assert guest.call("path_filestat_get", 3, 0, *path("soft"), 0) == OK and guest.data[16] == 7
    assert guest.call("path_filestat_get", 3, 1, *path("soft"), 0) == OK and guest.data[16] == 4
    assert guest.u64(24) == 2 and guest.u64(8) == (tmp_path / "again").stat().st_ino
    assert guest.call("path_filestat_set_times", 3, 1, *path("soft"), 1_000_000_001, 0, 1) == OK
    assert (tmp_path / "again").stat().st_atime_ns == 1_000_000_001
    assert guest.call("path_filestat_set_times", 3, 1, *path("soft"), 0, 0, 3) == ERRNO["inval"]
    assert guest.call("path_unlink_file", 3, *path("new/moved")) == OK
    assert guest.call("path_unlink_file", 3, *path("new")) == ERRNO["isdir"]
    assert guest.call("path_remove_directory", 3, *path("new")) == OK
    assert guest.call("path_remove_directory", 3, *path("none")) == ERRNO["noent"]
    assert guest.call("path_create_directory", 3, *guest.put(b"\xff")) == ERRNO["ilseq"]
    for name in ("../x", "/etc/passwd", "out", ""):
        want = ERRNO["perm"] if name else ERRNO["noent"]
        assert guest.call("path_open", 3, 1, *path(name), 0, ALL, ALL, 0, 0) == want
    assert guest.call("path_open", 1, 1, *path("in.txt"), 0, ALL, ALL, 0, 0) == ERRNO["notdir"]


def entries(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    at = 0
    while at + 24 <= len(data):
        following, _, length, kind = struct.unpack_from("<QQIB", data, at)
        if at + 24 + length > len(data):
            break
        found.append((following, kind, data[at + 24 : at + 24 + length]))
        at += 24 + length
    return found


def test_listing_in_pieces(guest: Guest, tmp_path: Path) -> None:
    assert guest.call("fd_readdir", 3, 4096, 4096, 0, 0) == OK
    whole = entries(bytes(guest.data[4096 : 4096 + guest.u32()]))
    names = {name: kind for _, kind, name in whole}
    assert names == {b".": 3, b"..": 3, b"in.txt": 4, b"sub": 3, b"link": 7, b"out": 7}
    seen: list[bytes] = []
    cookie = 0
    while True:
        assert guest.call("fd_readdir", 3, 4096, 40, cookie, 0) == OK
        part = entries(bytes(guest.data[4096 : 4096 + guest.u32()]))
        if not part:
            break
        seen += [name for _, _, name in part]
        cookie = part[-1][0]
    assert seen == [name for _, _, name in whole]
    assert guest.call("fd_readdir", 0, 4096, 40, 0, 0) == ERRNO["notdir"]


def test_standard_streams() -> None:
    out = bytearray()
    guest = Guest(stdin=b"typed", stdout=out)
    assert guest.read(0, 3) == b"typ" and guest.read(0) == b"ed" and guest.read(0) == b""
    assert guest.write(1, b"a", b"b") == OK and out == b"ab"
    assert guest.write(2, b"lost") == OK
    assert guest.write(0, b"x") == ERRNO["badf"]
    table, count, _ = guest.vectors(1)
    assert guest.call("fd_read", 1, table, count, 0) == ERRNO["badf"]
    assert guest.call("fd_seek", 0, 0, 0, 0) == ERRNO["spipe"]
    assert guest.call("fd_filestat_get", 1, 0) == OK
    # Without the rights to seek and tell, the C library may take it for a terminal if it is a character device.
    assert guest.call("fd_fdstat_get", 1, 0) == OK
    assert guest.data[0] == 0 and not guest.u64(8) & (RIGHTS["fd_seek"] | RIGHTS["fd_tell"])
    assert guest.call("fd_renumber", 1, 0) == OK and guest.write(0, b"c") == OK and out == b"abc"
    assert guest.write(1, b"x") == ERRNO["badf"]


def test_clocks_randomness_and_the_process(guest: Guest) -> None:
    for clock in range(4):
        assert guest.call("clock_time_get", clock, 0, 0) == OK and guest.u64() > 0
        assert guest.call("clock_res_get", clock, 0) == OK and guest.u64() > 0
    assert guest.call("clock_time_get", 4, 0, 0) == ERRNO["inval"]
    assert guest.call("random_get", 64, 32) == OK and any(guest.data[64:96])
    assert guest.call("sched_yield") == OK
    assert guest.call("proc_raise", 6) == ERRNO["nosys"]
    with pytest.raises(GuestExit) as caught:
        guest.wasi.proc_exit(3)
    assert caught.value.code == 3
    assert guest.call("sock_shutdown", 0, 0) == ERRNO["notsock"]
    assert guest.call("sock_accept", 99, 0, 0) == ERRNO["badf"]


def subscription(userdata: int, kind: int, body: bytes) -> bytes:
    return struct.pack("<QB7x", userdata, kind) + body.ljust(32, b"\0")


def clock_body(clock: int, timeout: int, flags: int = 0) -> bytes:
    return struct.pack("<I4xQQH", clock, timeout, 0, flags)


def events(guest: Guest, *subscriptions: bytes) -> list[tuple[int, int, int]]:
    start, _ = guest.put(b"".join(subscriptions))
    out, _ = guest.put(bytes(EVENT.size * len(subscriptions)))
    assert guest.call("poll_oneoff", start, out, len(subscriptions), 0) == OK
    found = [EVENT.unpack_from(guest.data, out + EVENT.size * n) for n in range(guest.u32())]
    return [(userdata, error, kind) for userdata, error, kind, _, _ in found]


def test_polling() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        guest = Guest(stdin=file)
        stdin = subscription(1, 1, struct.pack("<I", 0))
        timer = subscription(2, 0, clock_body(1, 5_000_000))
        assert events(guest, stdin, timer) == [(2, 0, 0)]
        assert events(guest, subscription(3, 0, clock_body(0, 1, 1))) == [(3, 0, 0)]
        os.write(writer, b"x")
        assert events(guest, stdin, subscription(4, 0, clock_body(1, 1 << 62))) == [(1, 0, 1)]
        assert events(guest, stdin, subscription(5, 1, struct.pack("<I", 77))) == [(5, ERRNO["badf"], 1)]
        assert events(guest, subscription(6, 2, struct.pack("<I", 1))) == [(6, 0, 2)]
        assert guest.call("poll_oneoff", 0, 512, 0, 0) == ERRNO["inval"]
        os.close(writer)


def test_no_pointer_reaches_outside_the_memory(guest: Guest) -> None:
    """Every function with every pointer at the end of the memory: an error number, never an exception."""
    end = len(guest.data)
    for name, signature in SIGNATURES.items():
        for bad in (end - 1, end, -1, 0xFFFF_FFF0, 0x7FFF_FFFF):
            for first in (0, 1, 3):
                if name in ("fd_close", "fd_renumber", "fd_fdstat_set_rights"):
                    continue
                args = [first if index == 0 else bad for index in range(len(signature))]
                assert 0 <= guest.call(name, *args) < len(ERRNO), (name, args)
    table, _ = guest.put(struct.pack("<II", end - 2, 3))
    fd = guest.open("in.txt")
    assert guest.call("fd_read", fd, table, 1, 0) == ERRNO["fault"]
    assert guest.call("fd_read", fd, table, 1 << 20, 0) == ERRNO["inval"]
    assert guest.call("args_get", end - 4, 0) == ERRNO["fault"]
    assert guest.call("random_get", 0, 0xFFFF_FFFF) == ERRNO["fault"]
    guest.wasi.memory = None
    assert guest.call("args_sizes_get", 0, 4) == ERRNO["fault"]


def test_descriptors_are_limited(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    from component_rt.wasi.preview1 import state

    monkeypatch.setattr(state, "_MOST_FDS", 5)
    guest.open("in.txt")
    assert guest.call("path_open", 3, 1, *guest.put(b"in.txt"), 0, ALL, ALL, 0, 0) == ERRNO["mfile"]
