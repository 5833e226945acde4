"""The functions of WASI 0.1 as a linker takes them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.wasi._values import Err
from component_rt.wasi.preview1.abi import ERRNO, NEEDED, OS_ERRORS, SIGNATURES
from component_rt.wasi.preview1.files import Files
from component_rt.wasi.preview1.paths import Paths
from component_rt.wasi.preview1.poll import Poll
from component_rt.wasi.preview1.process import Process
from component_rt.wasi.preview1.state import M32, M64
from component_rt.wasi.preview1.support import Fail, error_number
from core_rt.errors import GuestExit, LinkError

if TYPE_CHECKING:
    import core_rt

__all__ = ["MODULE", "Preview1"]

MODULE = "wasi_snapshot_preview1"


class Preview1(Process, Files, Paths, Poll):
    """The functions of WASI 0.1 for one instance. Blocks the calling thread where the guest asks to wait."""

    def define(self, linker: core_rt.Linker, module: str = MODULE) -> None:
        """Define every function under the module's name."""
        from core_rt import I32, I64, FuncType

        kinds = {"i": I32, "I": I64}
        for name, signature in SIGNATURES.items():
            type_ = FuncType([kinds[kind] for kind in signature], [I32])
            linker.define_func(module, name, type_, self._guarded(name))
        linker.define_func(module, "proc_exit", FuncType([I32], []), self.proc_exit)

    def attach(self, instance: core_rt.Instance) -> None:
        """Use this instance's memory. Raises `LinkError` if it exports none as `memory`."""
        from core_rt import Memory

        memory = instance.exports.get("memory")
        if not isinstance(memory, Memory):
            raise LinkError("a module that uses WASI must export its memory as `memory`")
        self.memory = memory

    def run(self, instance: core_rt.Instance) -> int:
        """Run `_start` and return the exit code. Raises `LinkError` if there is none, `Trap` if the guest traps."""
        self.attach(instance)
        start = instance.exports.get("_start")
        if start is None:
            raise LinkError("the module exports no function `_start`: it is no WASI command")
        call: Any = start
        try:
            call()
        except GuestExit as exited:
            return exited.code
        return 0

    def _guarded(self, name: str) -> Callable[..., int]:
        """The function as the linker wants it: unsigned arguments, errors as numbers."""
        kinds = SIGNATURES[name]
        first, second = NEEDED.get(name, (0, 0))
        # `path_symlink` has its target first; of two descriptors, the second stands behind the first path.
        at_first, at_second = (2 if name == "path_symlink" else 0), len(kinds) - 3
        args = ", ".join(f"a{index}" for index in range(len(kinds)))
        unsigned = ", ".join(f"a{index} & {M32 if kind == 'i' else M64}" for index, kind in enumerate(kinds))
        checks = [f"check(a{at} & {M32}, {need})" for at, need in ((at_first, first), (at_second, second)) if need]
        # Written out for each signature: a loop over arguments would cost more than many of the functions do.
        source = f"def call({args}):\n try:\n"
        if checks:
            source += f"  if wasi._rights_dropped: {'; '.join(checks)}\n"
        source += f"  function({unsigned})\n except BaseException as error: return failed(error)\n return 0\n"
        scope: dict[str, Any] = {
            "wasi": self,
            "check": self._check_rights,
            "failed": _failed,
            "function": getattr(self, name),
        }
        exec(compile(source, f"<wasi {name}>", "exec"), scope)
        call: Callable[..., int] = scope["call"]
        return call

    # -- sockets: none can be granted to a core module ---------------------------------------------------------------

    def _no_socket(self, fd: int) -> None:
        self._fd(fd)
        raise Fail("notsock")

    def sock_accept(self, fd: int, flags: int, result: int) -> None:
        self._no_socket(fd)

    def sock_recv(self, fd: int, vectors: int, count: int, flags: int, result: int, result_flags: int) -> None:
        self._no_socket(fd)

    def sock_send(self, fd: int, vectors: int, count: int, flags: int, result: int) -> None:
        self._no_socket(fd)

    def sock_shutdown(self, fd: int, how: int) -> None:
        self._no_socket(fd)


def _failed(error: BaseException) -> int:
    """The number for what a function raised; what is no error of the guest's goes on."""
    if isinstance(error, Fail):
        return error.number
    if isinstance(error, OSError):
        return OS_ERRORS.get(error.errno or 0, ERRNO["io"])
    if isinstance(error, Err):
        return error_number(error.value)
    if isinstance(error, struct.error):
        # pack_into and unpack_from refuse offsets outside the memory.
        return ERRNO["fault"]
    if isinstance(error, OverflowError):
        return ERRNO["inval"]
    raise error
