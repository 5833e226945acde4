"""Compiled code on disk, shared between processes.

Rules:
- An entry is a file named by the hash of everything its code depends on (`entry_key`). Who finds a file under the name may
  use it, if it is whole and really belongs to the name: the file repeats its key and carries a hash of its contents.
- Files are written under a temporary name and renamed, so that readers see a whole file or none, whatever crashes. Two writers
  write the same bytes. Nothing is unpickled.
- The folder is the user's alone (mode 0700); a folder that others may write to is not used, because its files run.
- A cache never fails a program: what goes wrong counts as a miss and is kept in `statistics()`.
- The size is bounded. A hit touches its file; eviction removes the files that were not used for longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import tempfile
import threading
from pathlib import Path

import attrs

_MAGIC = b"component-rt code 1\n"
_HEAD = struct.Struct("<20s32s32sQ")
_SUFFIX = ".code"


def entry_key(*parts: bytes | str) -> bytes:
    """The key (32 bytes) of code that depends on exactly these parts. Lengths go in, so parts cannot run together."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def default_folder() -> Path:
    """Where the user's cache lives (`$COMPONENT_RT_CACHE` overrides the platform's place)."""
    override = os.environ.get("COMPONENT_RT_CACHE")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("component-rt")) / "code"


@attrs.define(eq=False)
class CodeCache:
    """A folder of compiled code. Thread-safe, and safe against other processes."""

    folder: Path
    max_bytes: int = 1 << 30
    """Entries beyond this total are removed, least recently used first."""
    hits: int = 0
    misses: int = 0
    refused: int = 0
    """Files that were there but broken or foreign."""
    errors: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _usable: bool | None = attrs.field(default=None, init=False)

    def get(self, key: bytes) -> bytes | None:
        """The contents stored under a key, or None. A broken file is removed."""
        path = self._path(key)
        if not self._ready():
            return None
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self.misses += 1
            return None
        except OSError:
            self.errors += 1
            return None
        contents = _unpack(data, key)
        if contents is None:
            self.refused += 1
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self.hits += 1
        with contextlib.suppress(OSError):
            os.utime(path)
        return contents

    def put(self, key: bytes, contents: bytes) -> bool:
        """Store contents under a key; False where that was not possible."""
        if not self._ready() or len(contents) > self.max_bytes:
            return False
        path = self._path(key)
        temporary = None
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-", delete=False) as file:
                temporary = file.name
                file.write(_HEAD.pack(_MAGIC, key, hashlib.sha256(contents).digest(), len(contents)))
                file.write(contents)
            os.replace(temporary, path)
        except OSError:
            self.errors += 1
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            return False
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

    def _path(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / name[:2] / (name[2:] + _SUFFIX)

    def _ready(self) -> bool:
        """Make the folder; refuse one that somebody else owns or may write to."""
        if self._usable is None:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = self.folder.stat()
                ours = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
                self._usable = ours
                self.errors += not ours
            except OSError:
                self._usable = False
                self.errors += 1
        return self._usable

    def _files(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of each entry."""
        found = []
        for path in self.folder.glob(f"??/*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.stat()
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
                    path.unlink()
                total -= size


def _unpack(data: bytes, key: bytes) -> bytes | None:
    if len(data) < _HEAD.size:
        return None
    magic, stored_key, digest, length = _HEAD.unpack_from(data)
    contents = data[_HEAD.size :]
    if magic != _MAGIC or stored_key != key or len(contents) != length:
        return None
    return contents if hashlib.sha256(contents).digest() == digest else None
