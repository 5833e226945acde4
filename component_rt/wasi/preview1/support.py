"""What WASI 0.1's functions have in common: errors as numbers, timestamps, directory listings."""

from __future__ import annotations

import os

from component_rt.wasi._values import Case
from component_rt.wasi.filesystem import Descriptor
from component_rt.wasi.preview1.abi import CODES, ERRNO, FILE_TYPES, OS_ERRORS

__all__ = ["Fail", "error_number", "follow", "list_directory", "new_timestamps"]


class Fail(Exception):
    """Ends a call with an error number."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.number = ERRNO[name]


def follow(flags: int) -> tuple[str, ...]:
    """0.2's path flags for `lookupflags`."""
    return ("symlink-follow",) if flags & 1 else ()


def error_number(value: object) -> int:
    """The number for the error side of a 0.2 function's result."""
    if isinstance(value, str):
        return CODES.get(value, ERRNO["io"])
    if isinstance(value, Case):
        if value.label == "closed":
            return ERRNO["pipe"]
        error = getattr(value.value, "exception", None)
        if isinstance(error, OSError):
            return OS_ERRORS.get(error.errno or 0, ERRNO["io"])
    return ERRNO["io"]


def new_timestamps(access: int, modification: int, flags: int) -> tuple[Case, Case]:
    """0.2's `new-timestamp` values for two times and `fstflags`. Raises `Fail` (inval) for flags that contradict."""
    if flags >> 4 or flags & 3 == 3 or flags & 12 == 12:
        raise Fail("inval")

    def one(nanoseconds: int, which: int) -> Case:
        if which == 0:
            return Case("no-change")
        if which == 2:
            return Case("now")
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        return Case("timestamp", {"seconds": seconds, "nanoseconds": rest})

    return one(access, flags & 3), one(modification, flags >> 2)


def list_directory(descriptor: Descriptor) -> list[tuple[int, int, bytes]]:
    """Inode, type and name of everything in a directory, `.` and `..` first. Raises `OSError`."""
    own = os.fstat(descriptor.fd).st_ino
    directory = FILE_TYPES["directory"]
    # What lies above a granted directory is not the guest's business: its `..` is itself.
    entries = [(own, directory, b"."), (own, directory, b"..")]
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor.fd)
    try:
        with os.scandir(fd) as found:
            for entry in found:
                kind = "unknown"
                if entry.is_symlink():
                    kind = "symbolic-link"
                elif entry.is_dir(follow_symlinks=False):
                    kind = "directory"
                elif entry.is_file(follow_symlinks=False):
                    kind = "regular-file"
                entries.append((entry.inode(), FILE_TYPES[kind], os.fsencode(entry.name)))
    finally:
        os.close(fd)
    return entries
