"""Compiled code, and what else a start can do without making again, on disk, shared between processes.

Rules:
- An entry is a file named by the hash of everything its contents depend on (`entry_key`). Who finds a file under the name may
  use it, if it is whole and really belongs to the name: behind the contents, the file repeats its key and carries a checksum.
- Files are written under a temporary name and renamed, so that readers see a whole file or none, whatever crashes, and are
  never written again: who mapped one keeps what it saw, also when the file is removed. Nothing is unpickled.
- The folder is the user's alone (mode 0700), and so is each file. A folder or file that belongs to or may be written by somebody
  else is not used, because it is *trusted*: its code runs, and its facts are not checked again. Nobody who can write there
  needs our help to run code, so the checksum is one against accidents.
- A cache never fails a program: what goes wrong counts as a miss and is kept in `statistics()`.
- The size is bounded. A hit touches its file; eviction removes the files that were not used for longest.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import struct
import threading
import time
import zlib
from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["PAGE", "CodeCache", "Entry", "default_folder", "entry_key"]

PAGE: Final = mmap.PAGESIZE
"""Contents are padded to whole pages, so that they can be mapped."""

_MAGIC: Final = b"component-rt code 2\n"
_FOOT: Final = struct.Struct("<20s32sQQI")
_SUFFIX: Final = ".code"
_TEMPORARY: Final = "new-"
_LOOK_AT_ONCE: Final = 16
"""Of 256 entries that are put, how many make the cache look whether it is too large, beside every 256th part of what it may hold."""
_ABANDONED_SECONDS: Final = 3600
"""The age at which a temporary file is one whose writer crashed."""
_MAPPED_FROM: Final = 256 << 10
"""Bytes from which a file is mapped: a mapping costs a descriptor for as long as it is there, and reading a little is quicker."""
_FOREIGN_WRITERS: Final = stat.S_IWGRP | stat.S_IWOTH

Buffer = bytes | bytearray | memoryview


def entry_key(*parts: bytes | str) -> bytes:
    """The key (32 bytes) of what depends on exactly these parts. Lengths go in, so parts cannot run together."""
    import hashlib  # brings OpenSSL: only for who caches

    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def default_folder() -> str:
    """Where the user's cache lives (`$COMPONENT_RT_CACHE` overrides the platform's place)."""
    override = os.environ.get("COMPONENT_RT_CACHE")
    if override:
        return override
    import platformdirs

    return os.path.join(platformdirs.user_cache_dir("component-rt"), "code")


class Entry:
    """The contents of an entry, which stay as long as somebody has a view of them."""

    __slots__ = ("contents", "fd", "mapped")

    def __init__(self, fd: int, contents: memoryview) -> None:
        self.fd = fd
        """The file, to map parts of it elsewhere: contents begin at offset 0 and end with a whole page. Closed with the entry."""
        self.contents = contents
        self.mapped = isinstance(contents.obj, mmap.mmap)
        """Whether there is so much that it was not copied."""

    def __del__(self) -> None:
        os.close(self.fd)


@attrs.define(eq=False)
class CodeCache:
    """A folder of compiled code. Thread-safe, and safe against other processes."""

    folder: str = attrs.field(converter=os.fspath)
    max_bytes: int = 1 << 30
    """Entries beyond this total are removed, least recently used first."""
    hits: int = 0
    misses: int = 0
    refused: int = 0
    """Files that were there but broken or foreign."""
    errors: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _put: int = attrs.field(default=0, init=False)
    """Bytes put since the last look at the folder."""
    _usable: bool | None = attrs.field(default=None, init=False)

    def open(self, key: bytes) -> Entry | None:
        """What is stored under a key, or None. A broken file is removed."""
        if not self._ready():
            return None
        path = self._path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            self.misses += 1
            return None
        except OSError:
            self.errors += 1
            return None
        entry = None
        try:
            contents = _contents(fd, key)
            if contents is not None:
                entry = Entry(fd, contents)
        except (OSError, ValueError):
            self.errors += 1
        if entry is None:
            os.close(fd)
            self.refused += 1
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        self.hits += 1
        with contextlib.suppress(OSError):
            os.utime(path)
        return entry

    def get(self, key: bytes) -> bytes | None:
        """A copy of the contents stored under a key, or None."""
        entry = self.open(key)
        return None if entry is None else bytes(entry.contents)

    def put(self, key: bytes, contents: Buffer | Iterable[Buffer]) -> bool:
        """Store contents (or parts of them, in order) under a key; False where that was not possible."""
        parts = [contents] if isinstance(contents, bytes | bytearray | memoryview) else list(contents)
        length = sum(len(part) for part in parts)
        if not self._ready() or length > self.max_bytes:
            return False
        path = self._path(key)
        temporary = None
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            temporary = f"{os.path.dirname(path)}/{_TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}"
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                check = 0
                for part in [*parts, bytes(-length % PAGE)]:
                    check = zlib.crc32(part, check)
                    file.write(part)
                file.write(_FOOT.pack(_MAGIC, key, length, PAGE, check))
            os.replace(temporary, path)
        except OSError:
            self.errors += 1
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            return False
        self._put += length
        # Looking at all files takes long when there are many: not after each of them, but also in processes that put one.
        if self._put >= self.max_bytes // 256 or os.urandom(1)[0] < _LOOK_AT_ONCE:
            self._put = 0
            self._evict()
        return True

    def statistics(self) -> dict[str, int]:
        """Entries and bytes on disk; hits, misses, refused files and errors of this process."""
        files = self._files()
        return {
            "entries": len(files),
            "bytes": sum(size for _, size, _ in files),
            "hits": self.hits,
            "misses": self.misses,
            "refused": self.refused,
            "errors": self.errors,
        }

    def _path(self, key: bytes) -> str:
        name = key.hex()
        return f"{self.folder}/{name[:2]}/{name[2:]}{_SUFFIX}"

    def _ready(self) -> bool:
        """Make the folder; refuse one that somebody else owns or may write to."""
        if self._usable is None:
            try:
                os.makedirs(self.folder, mode=0o700, exist_ok=True)
                ours = _is_ours(os.stat(self.folder))
                self._usable = ours
                self.errors += not ours
            except OSError:
                self._usable = False
                self.errors += 1
        return self._usable

    def _glob(self, names: str) -> list[str]:
        import glob

        return glob.glob(f"{glob.escape(self.folder)}/??/{names}", include_hidden=True)

    def _files(self) -> list[tuple[float, int, str]]:
        """(last use, bytes, path) of each entry."""
        found = []
        for path in self._glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _evict(self) -> None:
        with self._lock:
            files = sorted(self._files())
            total = sum(size for _, size, _ in files)
            for _, size, path in files:
                if total <= self.max_bytes:
                    break
                with contextlib.suppress(OSError):
                    os.unlink(path)
                total -= size
            for path in self._glob(f"{_TEMPORARY}*"):
                with contextlib.suppress(OSError):
                    if os.stat(path).st_mtime < time.time() - _ABANDONED_SECONDS:
                        os.unlink(path)


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _FOREIGN_WRITERS


def _contents(fd: int, key: bytes) -> memoryview | None:
    """The contents of an open file, if it is whole and belongs to the key."""
    status = os.fstat(fd)
    padded = status.st_size - _FOOT.size
    if padded < 0 or not stat.S_ISREG(status.st_mode) or not _is_ours(status):
        return None
    if status.st_size < _MAPPED_FROM:
        whole = memoryview(os.read(fd, status.st_size))
        if len(whole) != status.st_size:
            return None
    else:
        whole = memoryview(mmap.mmap(fd, status.st_size, mmap.MAP_PRIVATE | mmap.MAP_POPULATE, mmap.PROT_READ))
    magic, stored_key, length, page, check = _FOOT.unpack_from(whole, padded)
    if magic != _MAGIC or stored_key != key or page != PAGE or padded != length + -length % PAGE:
        return None
    return whole[:length] if zlib.crc32(whole[:padded]) == check else None
