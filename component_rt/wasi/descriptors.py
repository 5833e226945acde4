"""What the descriptors of every WASI version have in common: files and directories beneath those that were granted.

A descriptor knows what it was opened for. `write` and everything that changes a directory needs a descriptor that came,
however indirectly, from a directory granted as "rw"; below a read-only one these fail with EROFS. A directory opened from a
mutable one can be changed, whether the guest asked for `mutate-directory` or not: C libraries do not ask.

Here errors are `OSError`; a version's class says what its guests are told of them. No function blocks except `sync` and `sync-data`.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import inspect
import os
import stat as stat_module
from collections.abc import Callable
from typing import Any, ClassVar, Self

from component_rt.wasi._values import Err, enum_name, field, flag_names, split_case
from component_rt.wasi.beneath import Parent, encode_path, open_beneath
from component_rt.wasi.config import Budget, WasiConfig
from component_rt.wasi.dual import Dual

__all__ = [
    "ADVICE",
    "SYNC_FLAGS",
    "TYPES",
    "BaseDescriptor",
    "OpenFile",
    "append",
    "checked_offset",
    "entry_type",
    "open_directory",
    "oserror",
    "reporting",
]

_SECRET = os.urandom(32)
"""Keys the metadata hashes, so that a guest cannot compute inode numbers back."""
_MAX_OFFSET = (1 << 63) - 1
_MASK64 = (1 << 64) - 1

TYPES = {
    stat_module.S_IFBLK: "block-device",
    stat_module.S_IFCHR: "character-device",
    stat_module.S_IFDIR: "directory",
    stat_module.S_IFIFO: "fifo",
    stat_module.S_IFLNK: "symbolic-link",
    stat_module.S_IFREG: "regular-file",
    stat_module.S_IFSOCK: "socket",
}

ADVICE = {
    "normal": os.POSIX_FADV_NORMAL,
    "sequential": os.POSIX_FADV_SEQUENTIAL,
    "random": os.POSIX_FADV_RANDOM,
    "will-need": os.POSIX_FADV_WILLNEED,
    "dont-need": os.POSIX_FADV_DONTNEED,
    "no-reuse": os.POSIX_FADV_NOREUSE,
}

SYNC_FLAGS = {
    "file-integrity-sync": os.O_SYNC,
    "data-integrity-sync": os.O_DSYNC,
    "requested-write-sync": os.O_RSYNC,
}

# O_NONBLOCK: opening a fifo must not wait for the other end. O_NOCTTY: no terminal may become ours.
_ALWAYS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def oserror(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def checked_offset(value: int) -> int:
    if value > _MAX_OFFSET:
        raise oserror(errno.EINVAL)
    return value


class OpenFile:
    """A file descriptor of the host that is closed when the last guest handle or stream lets go of it."""

    __slots__ = ("__weakref__", "_budget", "fd")

    def __init__(self, fd: int, budget: Budget | None = None) -> None:
        """Takes over `fd`. Raises `OSError` (EMFILE) if that is one too many for `budget`; it is closed then."""
        self.fd = -1
        self._budget: Budget | None = None
        if budget is not None:
            try:
                budget.take()
            except OSError:
                os.close(fd)
                raise
        self.fd = fd
        self._budget = budget

    def __del__(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        if self._budget is not None:
            self._budget.give()


def append(fd: int, data: bytes | memoryview) -> int:
    """Write at the end of a file, atomically where the kernel can (RWF_APPEND); returns the number of bytes."""
    try:
        return os.pwritev(fd, [data], 0, os.RWF_APPEND)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return os.pwrite(fd, data, os.fstat(fd).st_size)


def entry_type(entry: os.DirEntry[str], unknown: Any) -> Any:
    """The kind of an entry, from the directory itself where it says (no further system call then), or else `unknown`."""
    if entry.is_file(follow_symlinks=False):
        return "regular-file"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    if entry.is_symlink():
        return "symbolic-link"
    try:
        return TYPES.get(stat_module.S_IFMT(entry.stat(follow_symlinks=False).st_mode), unknown)
    except OSError:
        return unknown


def _metadata_hash(status: os.stat_result) -> dict[str, int]:
    text = f"{status.st_dev},{status.st_ino},{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns}"
    digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16, key=_SECRET).digest())
    return {"lower": digest & _MASK64, "upper": digest >> 64}


def _new_times(status: os.stat_result, access: Any, modification: Any, now: int) -> tuple[int, int]:
    """Nanoseconds for `utime` from two `new-timestamp` values."""

    def pick(value: Any, kept: int) -> int:
        case, payload = split_case(value)
        if case == "no-change":
            return kept
        if case == "now":
            return now
        nanoseconds: int = field(payload, "nanoseconds")
        if nanoseconds >= 1_000_000_000:
            raise oserror(errno.EINVAL)
        when: int = field(payload, "seconds") * 1_000_000_000 + nanoseconds
        return when

    return pick(access, status.st_atime_ns), pick(modification, status.st_mtime_ns)


def _utime(fd: int, times: tuple[int, int]) -> None:
    """Set the times of what an `O_PATH` descriptor stands for (never a link: the caller has followed it)."""
    # The kernel's way to name an open file; the descriptor pins what is meant.
    os.utime(f"/proc/self/fd/{fd}", ns=times)


def reporting(code: Callable[[OSError], Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, a function or coroutine function, with `Err(code(error))` in place of its `OSError`."""

    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            try:
                return await call(*args, **kwargs)
            except OSError as error:
                raise Err(code(error)) from None

        return awaited

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except OSError as error:
            raise Err(code(error)) from None
        except OverflowError:
            # A size or offset beyond what the kernel counts with.
            raise Err(code(oserror(errno.EINVAL))) from None

    return wrapped


class BaseDescriptor:
    """The resource `wasi:filesystem/types.descriptor`, but for streams, which differ from version to version.

    A subclass names its `code(error)`: what guests are told of an `OSError`.
    """

    __slots__ = ("__weakref__", "_config", "_file", "_flags", "_mutable", "directory", "type")
    UNKNOWN: ClassVar[Any]
    """The `descriptor-type` of what has no name."""

    def __init__(self, file: OpenFile, flags: frozenset[str], mutable: bool, config: WasiConfig) -> None:
        self._file: OpenFile | None = file
        self.type = TYPES.get(stat_module.S_IFMT(os.fstat(file.fd).st_mode), self.UNKNOWN)
        self.directory = self.type == "directory"
        self._flags = self._reported(flags, mutable)
        self._mutable = mutable
        self._config = config

    def __init_subclass__(cls, code: Callable[[OSError], Any] | None = None) -> None:
        super().__init_subclass__()
        if code is None:
            return
        for name in dir(cls):
            call = getattr(cls, name)
            if isinstance(call, Dual):
                setattr(cls, name, Dual(reporting(code, call.sync), reporting(code, call.asynchronous)))
            elif not name.startswith("_") and inspect.isfunction(call):
                setattr(cls, name, reporting(code, call))

    # -- what versions differ in -------------------------------------------------------------------------------------

    def _reported(self, flags: frozenset[str], mutable: bool) -> frozenset[str]:
        """What `get-flags` says of a descriptor that was opened with `flags`."""
        raise NotImplementedError

    def _wanted(self, flags: frozenset[str], how: frozenset[str]) -> frozenset[str]:
        """The descriptor flags that `open-at` gives to who asked for `flags`, with the open flags `how`."""
        return flags

    def _time(self, nanoseconds: int) -> dict[str, int] | None:
        """A time stamp in nanoseconds since 1970, as the version's record."""
        raise NotImplementedError

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def fd(self) -> int:
        """The host's descriptor. Raises `OSError` (EBADF) once the handle is dropped."""
        if self._file is None:
            raise oserror(errno.EBADF)
        return self._file.fd

    def _open_file(self, *needed: str) -> OpenFile:
        """The file behind a descriptor that is no directory and was opened for what is needed."""
        file = self._file
        if file is None:
            raise oserror(errno.EBADF)
        if self.directory:
            raise oserror(errno.EISDIR)
        if not self._flags.issuperset(needed):
            raise oserror(errno.EBADF)
        return file

    def _base(self) -> int:
        """The descriptor as a base for paths."""
        if not self.directory:
            raise oserror(errno.ENOTDIR)
        return self.fd

    def _mutable_base(self) -> int:
        base = self._base()
        if not self._mutable:
            raise oserror(errno.EROFS)
        return base

    def _stat_at(self, path_flags: Any, path: str) -> os.stat_result:
        follow = 0 if "symlink-follow" in flag_names(path_flags) else os.O_NOFOLLOW
        fd = open_beneath(self._base(), encode_path(path), os.O_PATH | follow)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _record(self, status: os.stat_result) -> dict[str, object]:
        """The record `descriptor-stat`."""
        return {
            "type": TYPES.get(stat_module.S_IFMT(status.st_mode), self.UNKNOWN),
            "link_count": status.st_nlink,
            "size": status.st_size,
            "data_access_timestamp": self._time(status.st_atime_ns),
            "data_modification_timestamp": self._time(status.st_mtime_ns),
            "status_change_timestamp": self._time(status.st_ctime_ns),
        }

    def _open_entries(self) -> OpenFile:
        """The directory opened once more: the position in a directory belongs to the open file."""
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._base())
        return OpenFile(fd, self._config.budget)

    @property
    def _seekable(self) -> bool:
        return self.type in ("regular-file", "block-device")

    def close(self) -> None:
        """The guest dropped its handle; streams made from it go on."""
        self._file = None

    # -- the open file -----------------------------------------------------------------------------------------------

    def advise(self, offset: int, length: int, advice: Any) -> None:
        """Tell how a region will be used."""
        os.posix_fadvise(
            self._open_file().fd, checked_offset(offset), checked_offset(length), ADVICE[enum_name(advice)]
        )

    def _sync_data_sync(self) -> None:
        """Wait until the data is on disk."""
        if self.directory or "write" in self._flags:
            os.fdatasync(self.fd)

    async def _sync_data_async(self) -> None:
        import trio

        if self.directory or "write" in self._flags:
            await trio.to_thread.run_sync(os.fdatasync, self.fd)

    sync_data = Dual(_sync_data_sync, _sync_data_async)

    def _sync_sync(self) -> None:
        """Wait until data and metadata are on disk."""
        if self.directory or "write" in self._flags:
            os.fsync(self.fd)

    async def _sync_async(self) -> None:
        import trio

        if self.directory or "write" in self._flags:
            await trio.to_thread.run_sync(os.fsync, self.fd)

    sync = Dual(_sync_sync, _sync_async)

    def get_flags(self) -> frozenset[str]:
        """What the descriptor was opened for."""
        _ = self.fd
        return self._flags

    def get_type(self) -> Any:
        """The kind of file."""
        _ = self.fd
        return self.type

    def set_size(self, size: int) -> None:
        """Cut the file off or fill it with zeroes up to `size` bytes."""
        os.ftruncate(self._open_file("write").fd, checked_offset(size))

    def set_times(self, data_access_timestamp: Any, data_modification_timestamp: Any) -> None:
        """Set the times of the open file or directory."""
        fd = self.fd
        if not self._mutable:
            raise oserror(errno.EROFS)
        times = _new_times(os.fstat(fd), data_access_timestamp, data_modification_timestamp, self._config.wall_clock())
        os.utime(fd, ns=times)

    def stat(self) -> dict[str, object]:
        """The attributes of the open file or directory."""
        return self._record(os.fstat(self.fd))

    def is_same_object(self, other: BaseDescriptor) -> bool:
        """Whether both are the same file of the host."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.fstat(other.fd))
        except OSError:
            return False

    def metadata_hash(self) -> dict[str, int]:
        """A hash that changes when the file is modified or replaced."""
        return _metadata_hash(os.fstat(self.fd))

    # -- directories -------------------------------------------------------------------------------------------------

    def create_directory_at(self, path: str) -> None:
        """Create a directory."""
        with Parent(self._mutable_base(), encode_path(path)) as at:
            os.mkdir(at.name, 0o777, dir_fd=at.fd)

    def stat_at(self, path_flags: Any, path: str) -> dict[str, object]:
        """The attributes of what `path` leads to."""
        return self._record(self._stat_at(path_flags, path))

    def metadata_hash_at(self, path_flags: Any, path: str) -> dict[str, int]:
        """The hash of what `path` leads to."""
        return _metadata_hash(self._stat_at(path_flags, path))

    def set_times_at(
        self, path_flags: Any, path: str, data_access_timestamp: Any, data_modification_timestamp: Any
    ) -> None:
        """Set the times of what `path` leads to."""
        base = self._mutable_base()
        follow = 0 if "symlink-follow" in flag_names(path_flags) else os.O_NOFOLLOW
        fd = open_beneath(base, encode_path(path), os.O_PATH | follow)
        try:
            status = os.fstat(fd)
            times = _new_times(status, data_access_timestamp, data_modification_timestamp, self._config.wall_clock())
            if not stat_module.S_ISLNK(status.st_mode):
                _utime(fd, times)
                return
        finally:
            os.close(fd)
        with Parent(base, encode_path(path)) as at:
            os.utime(at.name, ns=times, dir_fd=at.fd, follow_symlinks=False)

    def link_at(self, old_path_flags: Any, old_path: str, new_descriptor: BaseDescriptor, new_path: str) -> None:
        """Create a hard link."""
        base, new_base = self._mutable_base(), new_descriptor._mutable_base()
        source = encode_path(old_path)
        follow = "symlink-follow" in flag_names(old_path_flags)
        with Parent(new_base, encode_path(new_path)) as to:
            if follow or source.endswith(b"/"):
                # The kernel would follow the last link wherever it leads: resolve it here, link what is open.
                fd = open_beneath(base, source, os.O_PATH)
                try:
                    os.link(f"/proc/self/fd/{fd}", to.name, dst_dir_fd=to.fd, follow_symlinks=True)
                finally:
                    os.close(fd)
                return
            with Parent(base, source) as at:
                os.link(at.name, to.name, src_dir_fd=at.fd, dst_dir_fd=to.fd, follow_symlinks=False)

    def open_at(self, path_flags: Any, path: str, open_flags: Any, flags: Any) -> Self:
        """Open a file or directory."""
        base = self._base()
        how = flag_names(open_flags)
        wanted = self._wanted(flag_names(flags), how)
        if not self._mutable and (wanted & {"write", "mutate-directory"} or how & {"create", "truncate"}):
            raise oserror(errno.EROFS)
        bits = _ALWAYS
        if "write" in wanted:
            bits |= os.O_RDWR if "read" in wanted else os.O_WRONLY
        if "create" in how:
            if "directory" in how:
                raise oserror(errno.EINVAL)
            bits |= os.O_CREAT | (os.O_EXCL if "exclusive" in how else 0)
        if "directory" in how:
            bits |= os.O_DIRECTORY
        if "truncate" in how:
            bits |= os.O_TRUNC
        if "symlink-follow" not in flag_names(path_flags):
            bits |= os.O_NOFOLLOW
        for name in wanted & SYNC_FLAGS.keys():
            bits |= SYNC_FLAGS[name]
        fd = open_beneath(base, encode_path(path), bits, 0o666 if bits & os.O_CREAT else 0)
        return type(self)(OpenFile(fd, self._config.budget), wanted, self._mutable, self._config)

    def readlink_at(self, path: str) -> str:
        """The contents of a symbolic link; `not-permitted` if they are an absolute path."""
        source = encode_path(path)
        fd = open_beneath(self._base(), source, os.O_PATH | os.O_NOFOLLOW)
        try:
            if not stat_module.S_ISLNK(os.fstat(fd).st_mode):
                raise oserror(errno.EINVAL)
            target = os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)
        if target.startswith(b"/"):
            raise oserror(errno.EPERM)
        try:
            return target.decode()
        except UnicodeDecodeError:
            raise oserror(errno.EILSEQ) from None

    def remove_directory_at(self, path: str) -> None:
        """Remove an empty directory."""
        base, source = self._mutable_base(), encode_path(path)
        try:
            with Parent(base, source) as at:
                os.rmdir(at.name, dir_fd=at.fd)
        except NotADirectoryError:
            if source.endswith(b"/"):
                # A link that leads out is refused as such, whatever it leads to.
                os.close(open_beneath(base, source, os.O_PATH))
            raise

    def rename_at(self, old_path: str, new_descriptor: BaseDescriptor, new_path: str) -> None:
        """Rename or move a file or directory."""
        base, new_base = self._mutable_base(), new_descriptor._mutable_base()
        with Parent(base, encode_path(old_path)) as at, Parent(new_base, encode_path(new_path)) as to:
            os.rename(at.name, to.name, src_dir_fd=at.fd, dst_dir_fd=to.fd)

    def symlink_at(self, old_path: str, new_path: str) -> None:
        """Create a symbolic link with the contents `old_path`; `not-permitted` if that is absolute."""
        target = encode_path(old_path)
        if target.startswith(b"/"):
            raise oserror(errno.EPERM)
        with Parent(self._mutable_base(), encode_path(new_path)) as at:
            os.symlink(target, at.name, dir_fd=at.fd)

    def unlink_file_at(self, path: str) -> None:
        """Remove a file; `is-directory` if it is a directory."""
        with Parent(self._mutable_base(), encode_path(path)) as at:
            os.unlink(at.name, dir_fd=at.fd)


def open_directory(path: str) -> OpenFile:
    """Open a directory of the host to be granted. Raises `OSError`."""
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return OpenFile(os.open(path, os.O_RDONLY | flags))
    except PermissionError:
        # Searching may be allowed where listing is not.
        return OpenFile(os.open(path, os.O_PATH | flags))
