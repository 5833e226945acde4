"""Numbers and layouts of WASI 0.1 (`wasi_snapshot_preview1`): error numbers, rights, records in guest memory."""

from __future__ import annotations

import errno
import struct

from component_rt.wasi.errno_names import FILESYSTEM

__all__ = [
    "CODES",
    "DIRENT",
    "ERRNO",
    "EVENT",
    "FDSTAT",
    "FILESTAT",
    "FILE_TYPES",
    "NEEDED",
    "OS_ERRORS",
    "RIGHTS",
    "SIGNATURES",
    "SUBSCRIPTION_SIZE",
]

_ERRNO_NAMES = (
    "success 2big acces addrinuse addrnotavail afnosupport again already badf badmsg busy canceled child connaborted "
    "connrefused connreset deadlk destaddrreq dom dquot exist fault fbig hostunreach idrm ilseq inprogress intr inval "
    "io isconn isdir loop mfile mlink msgsize multihop nametoolong netdown netreset netunreach nfile nobufs nodev "
    "noent noexec nolck nolink nomem nomsg noprotoopt nospc nosys notconn notdir notempty notrecoverable notsock "
    "notsup notty nxio overflow ownerdead perm pipe proto protonosupport prototype range rofs spipe srch stale "
    "timedout txtbsy xdev notcapable"
).split()
ERRNO = {name: number for number, name in enumerate(_ERRNO_NAMES)}
"""WASI's error numbers by name."""

OS_ERRORS = {
    number: ERRNO[name.removeprefix("E").lower()]
    for number, name in errno.errorcode.items()
    if name.removeprefix("E").lower() in ERRNO
}
"""WASI's error numbers by the host's."""

CODES = {code: OS_ERRORS[number] for number, code in FILESYSTEM.items() if number in OS_ERRORS}
CODES |= {
    "access": ERRNO["acces"],
    "would-block": ERRNO["again"],
    "bad-descriptor": ERRNO["badf"],
    "insufficient-memory": ERRNO["nomem"],
    "invalid": ERRNO["inval"],
    "io": ERRNO["io"],
    "no-entry": ERRNO["noent"],
    "unsupported": ERRNO["notsup"],
    # What leaves a directory was "capabilities insufficient" here; the C library shows it as "Operation not permitted".
    "not-permitted": ERRNO["perm"],
}
"""WASI's error numbers by 0.2's names of filesystem errors."""

_RIGHT_NAMES = (
    "fd_datasync fd_read fd_seek fd_fdstat_set_flags fd_sync fd_tell fd_write fd_advise fd_allocate "
    "path_create_directory path_create_file path_link_source path_link_target path_open fd_readdir path_readlink "
    "path_rename_source path_rename_target path_filestat_get path_filestat_set_size path_filestat_set_times "
    "fd_filestat_get fd_filestat_set_size fd_filestat_set_times path_symlink path_remove_directory path_unlink_file "
    "poll_fd_readwrite sock_shutdown sock_accept"
).split()
RIGHTS = {name: 1 << bit for bit, name in enumerate(_RIGHT_NAMES)}

FILE_TYPES = {
    "unknown": 0,
    "block-device": 1,
    "character-device": 2,
    "directory": 3,
    "regular-file": 4,
    "socket": 6,
    "symbolic-link": 7,
    "fifo": 0,
}
"""File types by 0.2's names; there is none for fifos."""

FDSTAT = struct.Struct("<BxHxxxxQQ")
"""filetype, flags, rights base, rights inheriting"""
FILESTAT = struct.Struct("<QQBxxxxxxxQQQQQ")
"""dev, ino, filetype, nlink, size, atim, mtim, ctim"""
DIRENT = struct.Struct("<QQIBxxx")
"""next, ino, namlen, type"""
EVENT = struct.Struct("<QHBxxxxxQHxxxxxx")
"""userdata, error, type, nbytes, flags"""
SUBSCRIPTION_SIZE = 48

SIGNATURES = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_raise": "i",
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
"""Parameters of each function (`i` an i32, `I` an i64); all return an error number. `proc_exit` returns nothing."""

NEEDED = {
    name: (RIGHTS[first], RIGHTS[second] if second else 0)
    for name, first, second in (
        ("fd_advise", "fd_advise", ""),
        ("fd_allocate", "fd_allocate", ""),
        ("fd_datasync", "fd_datasync", ""),
        ("fd_fdstat_set_flags", "fd_fdstat_set_flags", ""),
        ("fd_filestat_get", "fd_filestat_get", ""),
        ("fd_filestat_set_size", "fd_filestat_set_size", ""),
        ("fd_filestat_set_times", "fd_filestat_set_times", ""),
        ("fd_pread", "fd_read", ""),
        ("fd_pwrite", "fd_write", ""),
        ("fd_read", "fd_read", ""),
        ("fd_readdir", "fd_readdir", ""),
        ("fd_seek", "fd_seek", ""),
        ("fd_sync", "fd_sync", ""),
        ("fd_tell", "fd_tell", ""),
        ("fd_write", "fd_write", ""),
        ("path_create_directory", "path_create_directory", ""),
        ("path_filestat_get", "path_filestat_get", ""),
        ("path_filestat_set_times", "path_filestat_set_times", ""),
        ("path_link", "path_link_source", "path_link_target"),
        ("path_open", "path_open", ""),
        ("path_readlink", "path_readlink", ""),
        ("path_remove_directory", "path_remove_directory", ""),
        ("path_rename", "path_rename_source", "path_rename_target"),
        ("path_symlink", "path_symlink", ""),
        ("path_unlink_file", "path_unlink_file", ""),
    )
}
"""Rights that a function needs of its first descriptor, and of its second if it has one."""
