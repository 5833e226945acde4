"""wasi:filesystem over a real directory: every method, every refusal, both ways of resolving paths."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from component_rt.values import Case, Err
from component_rt.wasi import WasiConfig, beneath, descriptors, filesystem
from component_rt.wasi.config import Dir
from component_rt.wasi.filesystem import Descriptor
from component_rt.wasi.io import IoError

FOLLOW = {"symlink-follow"}
NONE: set[str] = set()
READ = {"read"}
RW = {"read", "write"}


@pytest.fixture(params=["kernel", "walk"])
def resolver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "kernel" and not beneath._kernel_resolves():
        pytest.skip("no openat2 here")
    monkeypatch.setattr(beneath, "_uses_kernel", request.param == "kernel")
    return str(request.param)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A directory to grant, with a secret beside it and links of every kind inside."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "secret-dir").mkdir()
    box = tmp_path / "box"
    (box / "sub" / "deep").mkdir(parents=True)
    (box / "in.txt").write_text("hello world")
    (box / "sub" / "leaf.txt").write_text("leaf")
    os.symlink("in.txt", box / "good-link")
    os.symlink("sub", box / "dir-link")
    os.symlink("../in.txt", box / "sub" / "up-link")
    os.symlink("../secret.txt", box / "out-link")
    os.symlink("../secret-dir", box / "out-dir-link")
    os.symlink(str(tmp_path / "secret.txt"), box / "absolute-link")
    os.symlink("sub/../../secret.txt", box / "sneaky-link")
    os.symlink("nowhere", box / "dangling")
    os.symlink("../new-outside", box / "dangling-out")
    os.symlink("loop-b", box / "loop-a")
    os.symlink("loop-a", box / "loop-b")
    return box


@pytest.fixture
def root(box: Path, resolver: str) -> Iterator[Descriptor]:
    yield granted(box, "rw")


def granted(box: Path, mode: str, **options: object) -> Descriptor:
    config = WasiConfig(preopens={"/d": Dir(box, mode)}, **options)  # type: ignore[arg-type]
    ((descriptor, name),) = filesystem.Preopens(config).get_directories()
    assert name == "/d"
    return descriptor


def code(call: object, *args: object) -> str:
    with pytest.raises(Err) as caught:
        call(*args)  # type: ignore[operator]
    return str(caught.value.value)


def slurp(root: Descriptor, path: str) -> bytes:
    file = root.open_at(FOLLOW, path, NONE, READ)
    return file.read(1000, 0)[0]


def test_nothing_is_granted_by_default() -> None:
    assert filesystem.Preopens(WasiConfig()).get_directories() == []


def test_a_missing_directory_is_told_when_configuring(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        filesystem.Preopens(WasiConfig(preopens={"/": Dir(tmp_path / "no")}))


# ---- reading and writing ---------------------------------------------------------------------------------------------


def test_read_at_offsets_and_the_end(root: Descriptor) -> None:
    file = root.open_at(FOLLOW, "in.txt", NONE, READ)
    assert file.read(5, 0) == (b"hello", False)
    assert file.read(100, 6) == (b"world", True)
    assert file.read(5, 11) == (b"", True)
    assert code(file.read, 1, 1 << 63) == "invalid"


def test_write_creates_extends_and_truncates(root: Descriptor, box: Path) -> None:
    file = root.open_at(FOLLOW, "new.txt", {"create", "exclusive"}, RW)
    assert file.write(b"abc", 0) == 3
    assert file.write(b"z", 5) == 1
    assert (box / "new.txt").read_bytes() == b"abc\0\0z"
    file.set_size(2)
    assert file.read(10, 0) == (b"ab", True)
    assert code(root.open_at, FOLLOW, "new.txt", {"create", "exclusive"}, RW) == "exist"
    root.open_at(FOLLOW, "new.txt", {"truncate"}, RW)
    assert (box / "new.txt").read_bytes() == b""
    assert code(file.set_size, 1 << 63) == "invalid"


def test_streams_do_not_disturb_each_other(root: Descriptor) -> None:
    file = root.open_at(FOLLOW, "in.txt", NONE, RW)
    first, second = file.read_via_stream(0), file.read_via_stream(6)
    assert first.read(5) == b"hello"
    assert second.blocking_read(100) == b"world"
    assert first.skip(1) == 1
    assert first.read(1) == b"w"
    with pytest.raises(Err) as caught:
        second.read(1)
    assert caught.value.value == Case("closed")
    out = file.write_via_stream(6)
    assert out.check_write() > 0
    out.write(b"W")
    out.write_zeroes(1)
    tail = file.append_via_stream()
    tail.blocking_write_and_flush(b"!")
    file.close()
    tail.blocking_write_and_flush(b"!")
    assert slurp(root, "in.txt") == b"hello W\0rld!!"


def test_a_descriptor_does_only_what_it_was_opened_for(root: Descriptor) -> None:
    reader = root.open_at(FOLLOW, "in.txt", NONE, READ)
    assert code(reader.write, b"x", 0) == "bad-descriptor"
    assert code(reader.write_via_stream, 0) == "bad-descriptor"
    assert code(reader.append_via_stream) == "bad-descriptor"
    assert code(reader.set_size, 0) == "bad-descriptor"
    writer = root.open_at(FOLLOW, "in.txt", NONE, {"write"})
    assert code(writer.read, 1, 0) == "bad-descriptor"
    assert reader.get_flags() == {"read"}
    assert writer.get_flags() == {"write"}
    assert root.get_flags() == {"read", "mutate-directory"}
    assert code(root.read, 1, 0) == "is-directory"
    assert code(reader.stat_at, NONE, "x") == "not-directory"
    assert code(reader.read_directory) == "not-directory"
    reader.close()
    assert code(reader.read, 1, 0) == "bad-descriptor"


def test_failed_streams_name_the_filesystem_error(root: Descriptor) -> None:
    file = root.open_at(FOLLOW, "in.txt", NONE, READ)
    stream = file.read_via_stream((1 << 63) - 1)
    with pytest.raises(Err) as caught:
        stream.read(10)
    case = caught.value.value
    assert case.label == "last-operation-failed" and isinstance(case.value, IoError)
    assert filesystem.Types().filesystem_error_code(case.value) == "invalid"
    assert filesystem.Types().filesystem_error_code(IoError(OSError(2, "x"))) is None
    assert code(stream.read, 1) == str(Case("closed"))


# ---- directories -----------------------------------------------------------------------------------------------------


def test_listing(root: Descriptor, box: Path) -> None:
    os.mkfifo(box / "pipe")
    entries = {}
    stream = root.read_directory()
    while (entry := stream.read_directory_entry()) is not None:
        entries[entry["name"]] = entry["type"]
    assert entries.keys() == set(os.listdir(box))
    assert entries["sub"] == "directory"
    assert entries["in.txt"] == "regular-file"
    assert entries["good-link"] == "symbolic-link"
    assert entries["pipe"] == "fifo"
    assert stream.read_directory_entry() is None


def test_a_name_that_is_no_unicode_is_reported_and_the_rest_goes_on(root: Descriptor, box: Path) -> None:
    empty = box / "names"
    empty.mkdir()
    (empty / "ok").touch()
    with open(os.fsencode(empty) + b"/\xff", "w"):
        pass
    stream = root.open_at(FOLLOW, "names", {"directory"}, READ).read_directory()
    seen = []
    for _ in range(3):
        try:
            entry = stream.read_directory_entry()
            seen.append(entry["name"] if entry else None)
        except Err as error:
            seen.append(error.value)
    assert sorted(seen[:2]) == ["illegal-byte-sequence", "ok"] and seen[2] is None


def test_making_and_removing(root: Descriptor, box: Path) -> None:
    root.create_directory_at("made")
    root.create_directory_at("made/inner/")
    assert code(root.create_directory_at, "made") == "exist"
    assert code(root.create_directory_at, "none/inner") == "no-entry"
    assert code(root.remove_directory_at, "made") == "not-empty"
    assert code(root.unlink_file_at, "made") == "is-directory"
    assert code(root.remove_directory_at, "in.txt") == "not-directory"
    assert code(root.unlink_file_at, "in.txt/") == "not-directory"
    root.remove_directory_at("made/inner/")
    root.remove_directory_at("made")
    root.unlink_file_at("in.txt")
    assert not (box / "made").exists() and not (box / "in.txt").exists()
    root.unlink_file_at("out-link")
    assert (box.parent / "secret.txt").read_text() == "secret"


def test_renaming_and_hard_links(root: Descriptor, box: Path) -> None:
    sub = root.open_at(FOLLOW, "sub", {"directory"}, READ)
    root.rename_at("in.txt", sub, "moved.txt")
    assert (box / "sub" / "moved.txt").read_text() == "hello world"
    root.link_at(NONE, "sub/moved.txt", root, "again.txt")
    assert root.stat_at(NONE, "again.txt")["link_count"] == 2
    assert code(root.link_at, NONE, "sub", root, "dir-hard") == "not-permitted"
    assert code(root.link_at, NONE, "none", root, "x") == "no-entry"
    assert code(root.link_at, NONE, "again.txt", root, "sub/moved.txt") == "exist"
    # A link is linked itself, or followed within the directory.
    root.link_at(NONE, "out-link", root, "same-link")
    assert os.readlink(box / "same-link") == "../secret.txt"
    root.symlink_at("again.txt", "to-again")
    root.link_at(FOLLOW, "to-again", root, "third.txt")
    assert root.stat_at(NONE, "third.txt")["link_count"] == 3
    assert code(root.link_at, FOLLOW, "out-link", root, "stolen") == "not-permitted"
    assert not (box / "stolen").exists()


def test_symlinks(root: Descriptor) -> None:
    root.symlink_at("in.txt", "made-link")
    assert root.readlink_at("made-link") == "in.txt"
    assert slurp(root, "made-link") == b"hello world"
    assert code(root.symlink_at, "/etc/passwd", "bad") == "not-permitted"
    assert code(root.symlink_at, "x", "in.txt") == "exist"
    assert code(root.readlink_at, "absolute-link") == "not-permitted"
    assert code(root.readlink_at, "in.txt") == "invalid"
    assert root.stat_at(NONE, "good-link")["type"] == "symbolic-link"
    assert root.stat_at(FOLLOW, "good-link")["type"] == "regular-file"
    assert code(root.open_at, NONE, "good-link", NONE, READ) == "loop"
    assert code(root.open_at, FOLLOW, "loop-a", NONE, READ) == "loop"
    assert code(root.stat_at, FOLLOW, "dangling") == "no-entry"
    assert slurp(root, "dir-link/up-link") == b"hello world"
    root.open_at(FOLLOW, "dangling", {"create"}, RW).write(b"made", 0)
    assert slurp(root, "nowhere") == b"made"


def test_times(root: Descriptor, box: Path) -> None:
    root_fixed = granted(box, "rw", wall_clock=lambda: 5_000_000_007)
    when = Case("timestamp", {"seconds": 3, "nanoseconds": 9})
    root_fixed.set_times_at(FOLLOW, "good-link", when, Case("now"))
    status = os.stat(box / "in.txt")
    assert (status.st_atime_ns, status.st_mtime_ns) == (3_000_000_009, 5_000_000_007)
    root.set_times_at(NONE, "good-link", when, when)
    assert os.lstat(box / "good-link").st_mtime_ns == 3_000_000_009
    assert os.stat(box / "in.txt").st_mtime_ns == 5_000_000_007
    file = root.open_at(FOLLOW, "in.txt", NONE, READ)
    file.set_times(Case("no-change"), when)
    assert os.stat(box / "in.txt").st_mtime_ns == 3_000_000_009
    assert file.stat()["data_modification_timestamp"] == {"seconds": 3, "nanoseconds": 9}
    assert code(file.set_times, Case("timestamp", {"seconds": 0, "nanoseconds": 10**9}), when) == "invalid"
    assert code(file.set_times, Case("timestamp", {"seconds": 2**63, "nanoseconds": 0}), when) == "invalid"
    assert code(root.set_times_at, FOLLOW, "out-link", when, when) == "not-permitted"


def test_identity_and_hashes(root: Descriptor) -> None:
    one = root.open_at(FOLLOW, "in.txt", NONE, RW)
    two = root.open_at(FOLLOW, "good-link", NONE, READ)
    assert one.is_same_object(two) and not one.is_same_object(root)
    assert one.metadata_hash() == two.metadata_hash() == root.metadata_hash_at(FOLLOW, "good-link")
    assert root.metadata_hash_at(NONE, "good-link") != one.metadata_hash()
    before = one.metadata_hash()
    one.set_size(1)
    assert one.metadata_hash() != before


def test_advice_and_syncing(root: Descriptor) -> None:
    file = root.open_at(FOLLOW, "in.txt", NONE, RW)
    for advice in descriptors.ADVICE:
        file.advise(0, 4, advice)
    file.sync()
    file.sync_data()
    root.sync()
    assert file.get_type() == "regular-file" and root.get_type() == "directory"


def test_opening_a_fifo_does_not_wait(root: Descriptor, box: Path) -> None:
    os.mkfifo(box / "pipe")
    assert code(root.open_at, FOLLOW, "pipe", NONE, {"write"}) == "no-such-device"
    reader = root.open_at(FOLLOW, "pipe", NONE, READ).read_via_stream(0)
    writer = root.open_at(FOLLOW, "pipe", NONE, {"write"}).write_via_stream(0)
    assert not reader.subscribe().ready()
    assert reader.read(10) == b""
    writer.blocking_write_and_flush(b"through")
    assert reader.subscribe().ready()
    assert reader.read(10) == b"through"


# ---- the sandbox -----------------------------------------------------------------------------------------------------

ESCAPES = [
    "..",
    "../",
    "../secret.txt",
    "./../secret.txt",
    "sub/../../secret.txt",
    "sub/deep/../../../secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "out-link",
    "./out-link",
    "sneaky-link",
    "absolute-link",
    "out-dir-link",
    "out-dir-link/",
    "out-dir-link/x",
    "out-dir-link/..",
    "out-dir-link/../secret.txt",
    "dir-link/../../secret.txt",
    "dangling-out",
    "../box/in.txt",
    "sub/../../box/in.txt",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leaves_the_directory(root: Descriptor, box: Path, path: str) -> None:
    before = sorted(os.listdir(box.parent))
    no = "not-permitted"
    assert code(root.open_at, FOLLOW, path, NONE, READ) == no
    assert code(root.stat_at, FOLLOW, path) == no
    assert code(root.metadata_hash_at, FOLLOW, path) == no
    assert code(root.set_times_at, FOLLOW, path, Case("now"), Case("now")) == no
    assert code(root.link_at, FOLLOW, path, root, "stolen") == no
    assert code(root.open_at, FOLLOW, path, {"create"}, RW) in (no, "is-directory")
    below = f"{path}/deeper"
    for call in (root.create_directory_at, root.unlink_file_at, root.remove_directory_at, root.readlink_at):
        assert code(call, below) in (no, "not-directory", "no-entry"), call
    assert code(root.symlink_at, "x", below) in (no, "not-directory", "no-entry")
    assert code(root.rename_at, below, root, "stolen") in (no, "not-directory", "no-entry")
    assert code(root.rename_at, "in.txt", root, below) in (no, "not-directory", "no-entry")
    assert sorted(os.listdir(box.parent)) == before
    assert os.listdir(box.parent / "secret-dir") == []
    assert not (box / "stolen").exists()


@pytest.mark.parametrize("path", ["..", "../", "sub/../..", "sub/deep/../../../"])
def test_names_above_the_directory_cannot_be_touched(root: Descriptor, path: str) -> None:
    no = "not-permitted"
    assert code(root.create_directory_at, path) == no
    assert code(root.remove_directory_at, path) == no
    assert code(root.unlink_file_at, path) == no
    assert code(root.rename_at, path, root, "x") == no
    assert code(root.rename_at, "in.txt", root, path) == no
    assert code(root.link_at, NONE, "in.txt", root, path) == no
    assert code(root.symlink_at, "x", path) == no
    assert code(root.stat_at, NONE, path) == no
    assert code(root.readlink_at, path) == no


@pytest.mark.parametrize("path", [".", "./", "sub/..", "sub/.", "dir-link/.."])
def test_names_of_the_directory_itself_are_no_names(root: Descriptor, path: str) -> None:
    assert root.stat_at(NONE, path)["type"] == "directory"
    assert code(root.create_directory_at, path) == "exist"
    assert code(root.remove_directory_at, path) in ("invalid", "busy", "not-empty")
    assert code(root.unlink_file_at, path) == "is-directory"
    assert code(root.rename_at, path, root, "x") in ("busy", "invalid")


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 300, "x/" * 5000])
def test_odd_paths(root: Descriptor, path: str) -> None:
    wanted = {"": "no-entry", "a\0b": "invalid"}.get(path, "name-too-long")
    got = code(root.open_at, FOLLOW, path, NONE, READ)
    # Without the kernel's help nothing limits the whole path, only its components.
    assert got == wanted or (path.startswith("x/") and got == "no-entry")
    assert code(root.stat_at, NONE, path) == got


def test_a_trailing_slash_wants_a_directory(root: Descriptor) -> None:
    assert root.open_at(FOLLOW, "sub/", NONE, READ).directory
    assert root.open_at(FOLLOW, "dir-link/", NONE, READ).directory
    assert root.open_at(NONE, "dir-link/", NONE, READ).directory
    assert code(root.open_at, FOLLOW, "in.txt/", NONE, READ) == "not-directory"
    assert code(root.open_at, FOLLOW, "good-link/", NONE, READ) == "not-directory"
    assert code(root.open_at, FOLLOW, "fresh/", {"create"}, RW) == "is-directory"
    assert code(root.open_at, FOLLOW, "in.txt", {"directory"}, READ) == "not-directory"
    assert code(root.open_at, FOLLOW, "sub", {"directory", "create"}, READ) == "invalid"
    assert code(root.open_at, FOLLOW, "sub", NONE, RW) == "is-directory"


def test_a_descriptor_of_a_subdirectory_is_a_sandbox_of_its_own(root: Descriptor) -> None:
    sub = root.open_at(FOLLOW, "sub", {"directory"}, READ)
    assert slurp(sub, "leaf.txt") == b"leaf"
    assert code(sub.open_at, FOLLOW, "../in.txt", NONE, READ) == "not-permitted"
    assert code(sub.open_at, FOLLOW, "up-link", NONE, READ) == "not-permitted"


def test_swapping_a_directory_for_a_link_meanwhile_gains_nothing(root: Descriptor, box: Path) -> None:
    """A race in slow motion: the guest's handle stays where it was when the name is replaced by a link outwards."""
    sub = root.open_at(FOLLOW, "sub", {"directory"}, READ)
    os.rename(box / "sub", box / "was-sub")
    os.symlink("../secret-dir", box / "sub")
    sub.create_directory_at("here")
    assert (box / "was-sub" / "here").is_dir()
    assert code(root.create_directory_at, "sub/here") == "not-permitted"
    assert os.listdir(box.parent / "secret-dir") == []


def test_a_racing_renamer_never_lets_a_path_out(root: Descriptor, box: Path) -> None:
    """Another thread flips a component between a directory and a link outwards as fast as it can."""
    import threading

    (box / "real").mkdir()
    (box / "real" / "secret.txt").write_text("inside")
    os.symlink("..", box / "evil")
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            os.rename(box / "real", box / "flip")
            os.rename(box / "evil", box / "real")
            os.rename(box / "real", box / "evil")
            os.rename(box / "flip", box / "real")

    thread = threading.Thread(target=flip)
    thread.start()
    seen = set()
    try:
        for _ in range(300):
            try:
                seen.add(slurp(root, "real/secret.txt"))
            except Err as error:
                seen.add(error.value)
            try:
                seen.add(root.stat_at(NONE, "real/../in.txt")["size"])
            except Err as error:
                seen.add(error.value)
    finally:
        stop.set()
        thread.join()
    assert b"secret" not in seen
    assert seen <= {b"inside", 11, "no-entry", "not-permitted", "would-block"}, seen


# ---- read-only -------------------------------------------------------------------------------------------------------


def test_read_only_directories(box: Path, resolver: str) -> None:
    root = granted(box, "ro")
    read_only = "read-only"
    assert slurp(root, "in.txt") == b"hello world"
    assert root.get_flags() == {"read"}
    for flags, how in (
        (RW, NONE),
        ({"write"}, NONE),
        (READ, {"create"}),
        (READ, {"truncate"}),
        ({"mutate-directory"}, NONE),
    ):
        assert code(root.open_at, FOLLOW, "in.txt", how, flags) == read_only
    now = Case("now")
    assert code(root.create_directory_at, "x") == read_only
    assert code(root.unlink_file_at, "in.txt") == read_only
    assert code(root.remove_directory_at, "sub/deep") == read_only
    assert code(root.rename_at, "in.txt", root, "y") == read_only
    assert code(root.link_at, NONE, "in.txt", root, "y") == read_only
    assert code(root.symlink_at, "in.txt", "y") == read_only
    assert code(root.set_times_at, NONE, "in.txt", now, now) == read_only
    assert code(root.set_times, now, now) == read_only
    file = root.open_at(FOLLOW, "in.txt", NONE, READ)
    assert code(file.set_times, now, now) == read_only
    assert code(file.write, b"x", 0) == "bad-descriptor"
    sub = root.open_at(FOLLOW, "sub", {"directory"}, READ)
    assert sub.get_flags() == {"read"}
    assert code(sub.open_at, FOLLOW, "leaf.txt", NONE, RW) == read_only
    # What is writable elsewhere cannot be moved in or out of it.
    other = granted(box, "rw")
    assert code(other.rename_at, "in.txt", root, "z") == read_only
    assert code(root.rename_at, "in.txt", other, "z") == read_only
    assert code(root.link_at, NONE, "in.txt", other, "z") == read_only


def test_special_bits_are_not_created(root: Descriptor, box: Path) -> None:
    root.open_at(FOLLOW, "fresh", {"create"}, RW)
    assert stat.S_IMODE(os.stat(box / "fresh").st_mode) & 0o7111 == 0


def test_descriptors_are_closed_with_their_last_user(root: Descriptor) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        file = root.open_at(FOLLOW, "in.txt", NONE, RW)
        stream = file.read_via_stream(0)
        file.close()
        assert stream.read(1) == b"h"
        code(root.open_at, FOLLOW, "sub/deep/../../out-link", NONE, READ)
        root.read_directory().close()
    del file, stream
    assert len(os.listdir("/proc/self/fd")) == before
