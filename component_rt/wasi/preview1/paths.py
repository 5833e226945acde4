"""Paths below the directories that were granted."""

from __future__ import annotations

import os

from component_rt.wasi.beneath import encode_path, open_beneath
from component_rt.wasi.preview1.abi import RIGHTS
from component_rt.wasi.preview1.state import (
    DIRECTORY_RIGHTS,
    DSYNC,
    FILE_RIGHTS,
    READ_RIGHT,
    RSYNC,
    SYNC,
    WRITE_RIGHT,
    Fd,
    State,
)
from component_rt.wasi.preview1.support import follow, new_timestamps

__all__ = ["Paths"]


class Paths(State):
    """`path_*`."""

    def path_create_directory(self, fd: int, path: int, length: int) -> None:
        self._directory(fd).create_directory_at(self._path(path, length))

    def path_filestat_get(self, fd: int, flags: int, path: int, length: int, result: int) -> None:
        base = self._directory(fd)
        follow = 0 if flags & 1 else os.O_NOFOLLOW
        found = open_beneath(base.fd, encode_path(self._path(path, length)), os.O_PATH | follow)
        try:
            self._filestat(result, os.fstat(found))
        finally:
            os.close(found)

    def path_filestat_set_times(
        self, fd: int, flags: int, path: int, length: int, access: int, modification: int, which: int
    ) -> None:
        times = new_timestamps(access, modification, which)
        self._directory(fd).set_times_at(follow(flags), self._path(path, length), *times)

    def path_link(
        self, fd: int, flags: int, path: int, length: int, new_fd: int, new_path: int, new_length: int
    ) -> None:
        to = self._directory(new_fd)
        self._directory(fd).link_at(follow(flags), self._path(path, length), to, self._path(new_path, new_length))

    def path_open(
        self,
        fd: int,
        look: int,
        path: int,
        length: int,
        how: int,
        rights: int,
        inheriting: int,
        flags: int,
        result: int,
    ) -> None:
        base = self._directory(fd)
        open_flags = {
            name for bit, name in enumerate(("create", "directory", "exclusive", "truncate")) if how >> bit & 1
        }
        if "create" in open_flags:
            self._check_rights(fd, RIGHTS["path_create_file"])
        if "truncate" in open_flags:
            self._check_rights(fd, RIGHTS["path_filestat_set_size"])
        wanted = set()
        if rights & READ_RIGHT:
            wanted.add("read")
        if rights & WRITE_RIGHT:
            wanted.add("write")
        if flags & SYNC:
            wanted.add("file-integrity-sync")
        if flags & DSYNC:
            wanted.add("data-integrity-sync")
        if flags & RSYNC:
            wanted.add("requested-write-sync")
        self._u32(result, 0)
        descriptor = base.open_at(follow(look), self._path(path, length), open_flags, wanted)
        if descriptor.directory:
            entry = Fd(descriptor, rights=rights & DIRECTORY_RIGHTS, inheriting=inheriting)
        else:
            entry = Fd(descriptor, rights=rights & FILE_RIGHTS, inheriting=0)
        above = self._fd(fd).dropped_inheriting
        entry.dropped = entry.dropped_inheriting = above
        entry.rights &= ~above
        entry.inheriting &= ~above
        entry.flags = flags & 31
        self._u32(result, self._add(entry))

    def path_readlink(self, fd: int, path: int, length: int, buffer: int, size: int, result: int) -> None:
        target = self._directory(fd).readlink_at(self._path(path, length)).encode()[:size]
        self._span(buffer, len(target))[:] = target
        self._u32(result, len(target))

    def path_remove_directory(self, fd: int, path: int, length: int) -> None:
        self._directory(fd).remove_directory_at(self._path(path, length))

    def path_rename(self, fd: int, path: int, length: int, new_fd: int, new_path: int, new_length: int) -> None:
        to = self._directory(new_fd)
        self._directory(fd).rename_at(self._path(path, length), to, self._path(new_path, new_length))

    def path_symlink(self, target: int, target_length: int, fd: int, path: int, length: int) -> None:
        self._directory(fd).symlink_at(self._path(target, target_length), self._path(path, length))

    def path_unlink_file(self, fd: int, path: int, length: int) -> None:
        self._directory(fd).unlink_file_at(self._path(path, length))
