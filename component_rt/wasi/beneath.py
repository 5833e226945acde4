"""Opening paths that stay beneath a directory handle, whatever the path, its symbolic links or other processes do.

Rules (WASI's filesystem path resolution): a path is relative; no step of its resolution, links included, may leave the
base directory, not even to come back; a link to an absolute path is refused. Every refusal is `EPERM`.

On Linux 5.6 and later the kernel enforces this (`openat2` with `RESOLVE_BENEATH`). Elsewhere `_walk` opens one
component after the other with `O_NOFOLLOW` and keeps a stack of directory handles for `..`: whatever is renamed
meanwhile, each step starts from a handle that was reached from the base.

Operations on names rather than files (create, remove, rename, link) take the handle of the parent and a last component
that is never `..`, so that the kernel has nothing left to resolve.
"""

from __future__ import annotations

import collections
import ctypes
import errno
import os
import stat
from types import TracebackType

import attrs

__all__ = ["Parent", "check_path", "encode_path", "open_beneath"]

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_MAX_LINKS = 40
"""Symbolic links that one resolution follows at most, as in the kernel."""
_RETRIES = 128
"""How often a resolution that raced with a rename is begun anew."""


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _openat2(directory: int, path: bytes, flags: int, mode: int) -> int:
    how = _OpenHow(flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    for _ in range(_RETRIES):
        fd: int = _syscall(ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(directory), path, ctypes.byref(how), size)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    # The kernel says EXDEV for a path that would leave the base.
    raise _error(errno.EPERM if number == errno.EXDEV else number)


def _kernel_resolves() -> bool:
    try:
        fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(_openat2(fd, b".", os.O_PATH | os.O_CLOEXEC, 0))
    except OSError:
        # Not in this kernel, or a filter of system calls forbids it.
        return False
    finally:
        os.close(fd)
    return True


def encode_path(path: str) -> bytes:
    """A guest's path as bytes. Raises `OSError`: EINVAL for a NUL, EILSEQ for what is no Unicode text."""
    try:
        data = path.encode()
    except UnicodeEncodeError:
        raise _error(errno.EILSEQ) from None
    if b"\0" in data:
        raise _error(errno.EINVAL)
    return data


def check_path(path: bytes) -> None:
    """Raises `OSError` for a path that is refused unseen: ENOENT if empty, EPERM if absolute."""
    if not path:
        raise _error(errno.ENOENT)
    if path[0] == 0x2F:
        raise _error(errno.EPERM)


def open_beneath(directory: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path` beneath the directory handle and return a new descriptor (close-on-exec).

    `flags` are those of `open`; `O_NOFOLLOW` applies to the last component. Raises `OSError`, with EPERM for a path
    that would leave the directory.
    """
    check_path(path)
    flags |= os.O_CLOEXEC
    global _uses_kernel
    if _uses_kernel is None:
        _uses_kernel = _kernel_resolves()
    if _uses_kernel:
        return _openat2(directory, path, flags, mode)
    return _walk(directory, path, flags, mode)


_uses_kernel: bool | None = None


@attrs.define
class _Walk:
    """The state of one resolution by hand: handles from the base (not owned) to where it stands, and what is left."""

    stack: list[int]
    todo: collections.deque[bytes]
    must_be_directory: bool = False
    slash: bool = False
    """Whether the last name has a slash behind it: files are never created there."""
    links: int = 0

    def feed(self, path: bytes) -> None:
        """Put the components of a path (or of a link's target) before what is left."""
        if not self.todo and path.rpartition(b"/")[2] in (b"", b"."):
            self.must_be_directory = True
            if path.rstrip(b"/").rpartition(b"/")[2] not in (b".", b".."):
                self.slash = True
        self.todo.extendleft(part for part in reversed(path.split(b"/")) if part not in (b"", b"."))

    def up(self) -> None:
        if len(self.stack) == 1:
            raise _error(errno.EPERM)
        os.close(self.stack.pop())

    def follow(self, fd: int) -> None:
        """Go on with the target of the link that is open as `fd`, which is closed."""
        try:
            target = os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)
        self.links += 1
        if self.links > _MAX_LINKS:
            raise _error(errno.ELOOP)
        check_path(target)
        self.feed(target)

    def close(self) -> None:
        for fd in self.stack[1:]:
            os.close(fd)


def _walk(directory: int, path: bytes, flags: int, mode: int) -> int:
    """`open_beneath` without the kernel's help."""
    walk = _Walk([directory], collections.deque())
    walk.feed(path)
    peek = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        while walk.todo:
            name = walk.todo.popleft()
            if name == b"..":
                walk.up()
                if not walk.todo:
                    walk.must_be_directory = True
                continue
            last = not walk.todo
            if last and walk.slash and flags & os.O_CREAT:
                raise _error(errno.EISDIR)
            if last and (flags & os.O_NOFOLLOW or flags & os.O_EXCL) and not walk.must_be_directory:
                return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=walk.stack[-1])
            try:
                fd = os.open(name, peek, dir_fd=walk.stack[-1])
            except FileNotFoundError:
                if last and flags & os.O_CREAT and not walk.must_be_directory:
                    return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=walk.stack[-1])
                raise
            kind = os.fstat(fd).st_mode
            if stat.S_ISLNK(kind):
                walk.follow(fd)
            elif stat.S_ISDIR(kind):
                walk.stack.append(fd)
            elif last and not walk.must_be_directory:
                os.close(fd)
                return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=walk.stack[-1])
            else:
                os.close(fd)
                raise _error(errno.ENOTDIR)
        if flags & os.O_CREAT:
            raise _error(errno.EEXIST if flags & os.O_EXCL else errno.EISDIR)
        return os.open(b".", flags, dir_fd=walk.stack[-1])
    finally:
        walk.close()


class Parent:
    """Where a name is to be created, removed or renamed: `fd` of its directory and the last component, `name`.

    `name` is never `..` nor absolute; it keeps one trailing slash if the path had any. A path that ends in `.` or `..`
    is resolved as a whole and named `.`, which the kernel then refuses to create, remove or rename. A context manager.
    """

    __slots__ = ("_owned", "fd", "name")

    def __init__(self, directory: int, path: bytes) -> None:
        check_path(path)
        stripped = path.rstrip(b"/")
        head, _, name = stripped.rpartition(b"/")
        if name in (b".", b".."):
            head, name = path, b"."
        elif len(stripped) != len(path):
            name += b"/"
        self.name = name
        self._owned = bool(head)
        self.fd = open_beneath(directory, head, os.O_PATH | os.O_DIRECTORY) if head else directory

    def __enter__(self) -> Parent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            os.close(self.fd)
