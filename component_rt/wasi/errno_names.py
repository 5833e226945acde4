"""How the kernel's error numbers are called in WASI's packages."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from component_rt.wasi._values import Err

__all__ = ["FILESYSTEM", "SOCKETS", "filesystem_code", "socket_code", "socket_errors"]

P = ParamSpec("P")
R = TypeVar("R")

FILESYSTEM: dict[int, str] = {
    errno.EACCES: "access",
    errno.EAGAIN: "would-block",
    errno.EALREADY: "already",
    errno.EBADF: "bad-descriptor",
    errno.EBUSY: "busy",
    errno.EDEADLK: "deadlock",
    errno.EDQUOT: "quota",
    errno.EEXIST: "exist",
    errno.EFBIG: "file-too-large",
    errno.EILSEQ: "illegal-byte-sequence",
    errno.EINPROGRESS: "in-progress",
    errno.EINTR: "interrupted",
    errno.EINVAL: "invalid",
    errno.EIO: "io",
    errno.EISDIR: "is-directory",
    errno.ELOOP: "loop",
    errno.EMLINK: "too-many-links",
    errno.EMSGSIZE: "message-size",
    errno.ENAMETOOLONG: "name-too-long",
    errno.ENODEV: "no-device",
    errno.ENOENT: "no-entry",
    errno.ENOLCK: "no-lock",
    errno.ENOMEM: "insufficient-memory",
    errno.ENOSPC: "insufficient-space",
    errno.ENOSYS: "unsupported",
    errno.ENOTDIR: "not-directory",
    errno.ENOTEMPTY: "not-empty",
    errno.ENOTRECOVERABLE: "not-recoverable",
    errno.ENOTSUP: "unsupported",
    errno.ENOTTY: "no-tty",
    errno.ENXIO: "no-such-device",
    errno.EOVERFLOW: "overflow",
    errno.EPERM: "not-permitted",
    errno.EPIPE: "pipe",
    errno.EROFS: "read-only",
    errno.ESPIPE: "invalid-seek",
    errno.ETXTBSY: "text-file-busy",
    errno.EXDEV: "cross-device",
    # Numbers that WASI has no name for: the nearest.
    errno.EMFILE: "insufficient-memory",
    errno.ENFILE: "insufficient-memory",
    errno.ENOTSOCK: "invalid",
    errno.ESTALE: "no-entry",
}
"""`wasi:filesystem/types.error-code`; what is not listed is `io`."""

SOCKETS: dict[int, str] = {
    errno.EACCES: "access-denied",
    errno.EPERM: "access-denied",
    errno.EOPNOTSUPP: "not-supported",
    errno.EAFNOSUPPORT: "not-supported",
    errno.EPROTONOSUPPORT: "not-supported",
    errno.ENOPROTOOPT: "not-supported",
    errno.EINVAL: "invalid-argument",
    errno.EFAULT: "invalid-argument",
    errno.EDESTADDRREQ: "invalid-argument",
    errno.ENOMEM: "out-of-memory",
    errno.ENOBUFS: "out-of-memory",
    errno.ETIMEDOUT: "timeout",
    errno.EALREADY: "concurrency-conflict",
    errno.EAGAIN: "would-block",
    errno.EINPROGRESS: "would-block",
    errno.ENOTCONN: "invalid-state",
    errno.EISCONN: "invalid-state",
    errno.EMFILE: "new-socket-limit",
    errno.ENFILE: "new-socket-limit",
    errno.EADDRNOTAVAIL: "address-not-bindable",
    errno.EADDRINUSE: "address-in-use",
    errno.EHOSTUNREACH: "remote-unreachable",
    errno.EHOSTDOWN: "remote-unreachable",
    errno.ENETUNREACH: "remote-unreachable",
    errno.ENETDOWN: "remote-unreachable",
    errno.ENONET: "remote-unreachable",
    errno.ECONNREFUSED: "connection-refused",
    errno.ECONNRESET: "connection-reset",
    errno.EPIPE: "connection-reset",
    errno.ECONNABORTED: "connection-aborted",
    errno.EMSGSIZE: "datagram-too-large",
}
"""`wasi:sockets/network.error-code`; what is not listed is `unknown`."""


def filesystem_code(error: OSError) -> str:
    """The filesystem error code for an error of the host."""
    return FILESYSTEM.get(error.errno or 0, "io")


def socket_code(error: OSError) -> str:
    """The network error code for an error of the host."""
    return SOCKETS.get(error.errno or 0, "unknown")


def socket_errors(call: Callable[P, R]) -> Callable[P, R]:
    """Decorate a host function so that `OSError` becomes `Err` of a network error code."""

    @functools.wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except OSError as error:
            raise Err(socket_code(error)) from None

    return wrapped
