"""The C shim's typed face: fibers, traps, memory, machine code, the ticker.

Other packages import from here only. `shim.h` opens with the theory of operation.
"""

from core_rt.native.bridge import array_bridge, host_bridge, signature
from core_rt.native.code import CodeArena, enter_code, processor_words, register_code, unregister_code
from core_rt.native.fiber import (
    FiberStacks,
    abandon,
    backtrace,
    call,
    call_float,
    call_int,
    call_into,
    catches,
    divert,
    frames,
    is_parked,
    left,
    lifted_end_float,
    lifted_end_int,
    lifted_float,
    lifted_int,
    outcome,
    park,
    result_float,
    result_int,
    resume,
    resume_running,
    running,
    thread_token,
)
from core_rt.native.instance import (
    component,
    grow_table,
    host_func,
    host_funcs,
    instantiate,
    instantiate_linked,
    keep,
    put_segment,
    settle_table,
    share_memory,
)
from core_rt.native.lib import CData, Shim, address, ffi, lib, pointer
from core_rt.native.memory import Image, Reservation, set_pool_limits, statistics
from core_rt.native.store import StoreContext, interrupt_engine, new_block
from core_rt.native.stubs import Stubs
from core_rt.native.ticker import start_ticker, stop_ticker, ticker_period

__all__ = [
    "CData",
    "CodeArena",
    "FiberStacks",
    "Image",
    "Reservation",
    "Shim",
    "StoreContext",
    "Stubs",
    "abandon",
    "address",
    "array_bridge",
    "backtrace",
    "builtin_array_address",
    "call",
    "call_float",
    "call_int",
    "call_into",
    "catches",
    "component",
    "divert",
    "enter_code",
    "ffi",
    "frames",
    "grow_table",
    "host_bridge",
    "host_call_address",
    "host_func",
    "host_funcs",
    "instantiate",
    "instantiate_linked",
    "interrupt_engine",
    "is_parked",
    "keep",
    "left",
    "lib",
    "lifted_end_float",
    "lifted_end_int",
    "lifted_float",
    "lifted_int",
    "new_block",
    "outcome",
    "park",
    "pointer",
    "processor_words",
    "put_segment",
    "register_code",
    "result_float",
    "result_int",
    "resume",
    "resume_running",
    "running",
    "set_pool_limits",
    "settle_table",
    "share_memory",
    "signature",
    "start_ticker",
    "statistics",
    "stop_ticker",
    "thread_token",
    "ticker_period",
    "unregister_code",
]

host_call_address: int = address(lib.vm_host_call_address())
"""Where compiled code calls `host_call(VMHostFuncContext *, ValRaw *)`."""
builtin_array_address: int = address(lib.vm_builtin_array())
"""The array of builtins, in the order of `core_rt.vm.structs.BUILTINS`."""
