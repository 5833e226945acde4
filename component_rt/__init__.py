"""The component model on top of `core_rt`: components, linking, the canonical ABI, WASI.

Names are imported when first used, so that `import component_rt` costs nothing but this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "component_rt.component": ("Component",),
    "component_rt.features": ("Features",),
    "component_rt.linker": ("InstancePre", "Linker"),
    "component_rt.namespace": ("Instance", "Namespace"),
    "component_rt.store": ("Store",),
    "component_rt.tasks.opening": ("open_store",),
    "component_rt.values": ("Case", "Err", "Ok", "Some"),
    "component_rt.wasi.config": ("Dir", "HttpPolicy", "NetworkPolicy", "WasiConfig"),
    "core_rt": (
        "Config",
        "DecodeError",
        "Engine",
        "EngineBug",
        "ExhaustionError",
        "GuestExit",
        "InstancePoisoned",
        "Limits",
        "LinkError",
        "StoreError",
        "Trap",
        "TrapCode",
        "ValidationError",
        "WasmError",
    ),
    "wit.errors": ("WitError",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)

if TYPE_CHECKING:
    from component_rt.component import Component as Component
    from component_rt.features import Features as Features
    from component_rt.linker import InstancePre as InstancePre
    from component_rt.linker import Linker as Linker
    from component_rt.namespace import Instance as Instance
    from component_rt.namespace import Namespace as Namespace
    from component_rt.store import Store as Store
    from component_rt.values import Case as Case
    from component_rt.values import Err as Err
    from component_rt.values import Ok as Ok
    from component_rt.values import Some as Some
    from component_rt.wasi.config import (
        Dir as Dir,
    )
    from component_rt.wasi.config import (
        HttpPolicy as HttpPolicy,
    )
    from component_rt.wasi.config import (
        NetworkPolicy as NetworkPolicy,
    )
    from component_rt.wasi.config import (
        WasiConfig as WasiConfig,
    )
    from core_rt import (
        Config as Config,
    )
    from core_rt import (
        DecodeError as DecodeError,
    )
    from core_rt import (
        Engine as Engine,
    )
    from core_rt import (
        EngineBug as EngineBug,
    )
    from core_rt import (
        ExhaustionError as ExhaustionError,
    )
    from core_rt import (
        GuestExit as GuestExit,
    )
    from core_rt import (
        InstancePoisoned as InstancePoisoned,
    )
    from core_rt import (
        Limits as Limits,
    )
    from core_rt import (
        LinkError as LinkError,
    )
    from core_rt import (
        StoreError as StoreError,
    )
    from core_rt import (
        Trap as Trap,
    )
    from core_rt import (
        TrapCode as TrapCode,
    )
    from core_rt import (
        ValidationError as ValidationError,
    )
    from core_rt import (
        WasmError as WasmError,
    )
    from wit.errors import WitError as WitError


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
