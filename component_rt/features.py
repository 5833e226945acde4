"""Which parts of the component model are accepted.

The specification marks additions since WASI 0.2 with emoji. All that the runtime implements is on by default (but for nested names, which
the suites expect to be refused), so that components
of any toolchain load; `shipped()` has only what a WASI release contains. A component that uses a feature which is off is refused with
an error naming the field here. Other tools know each by a flag (`;;! flag = ...` of test scripts, `-W ...` on command lines): `Features.from_flags`.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

__all__ = ["Features"]


@attrs.frozen(kw_only=True)
class Features:
    """One boolean per gated feature of the Explainer ("Gated Features")."""

    async_: bool = True
    """`async` functions, `stream`, `future` and their built-ins (WASI 0.3)."""
    map: bool = True
    """The `map` type."""
    implements: bool = True
    """The `implements` attribute of imports and exports."""
    external_id: bool = True
    """The `external-id` attribute of imports and exports."""
    values: bool = True
    """Value imports, exports and definitions, and component start functions."""
    nested_names: bool = False
    """Nested namespaces and packages in names (`a:b:c/d/e`)."""
    fixed_length_lists: bool = True
    """`list<t, n>`."""
    error_context: bool = True
    """The `error-context` type and its built-ins."""
    more_async_builtins: bool = True
    """`async` on `subtask.cancel` and `*.cancel-read/write`, synchronous `stream`/`future` reads and writes."""
    stackful: bool = True
    """`canon lift` with `async` and no `callback`."""
    threads: bool = True
    """The built-ins `thread.index`, `thread.new-indirect`, `thread.suspend`, ..."""
    shared_threads: bool = False
    """The built-ins `thread.spawn-ref`, `thread.spawn-indirect`, `thread.available-parallelism`."""
    canonical_names: bool = True
    """Interface names with a canonical version (`@1`, `@0.2`) and the `versionsuffix` attribute."""
    memory64: bool = True
    """Canonical options over 64-bit memories, resources with an `i64` representation, i64 contexts."""

    @classmethod
    def shipped(cls) -> Features:
        """What is part of a WASI release (0.2, 0.3), and nothing else."""
        shipped = ("async_", "map", "implements", "external_id")
        return cls(**{field.name: field.name in shipped for field in attrs.fields(cls)})

    @classmethod
    def all(cls) -> Features:
        """Everything on."""
        return cls(**{field.name: True for field in attrs.fields(cls)})

    @classmethod
    def from_flags(cls, flags: Iterable[str]) -> Features:
        """What has shipped plus what `flags` names.

        Accepted are the names of the fields here and those of the test scripts' comments (`cm-async`, `cm-threading`,
        ...), with or without `-W` before or `=y` / `=n` after them. Flags of core WebAssembly are ignored.
        """
        chosen: dict[str, bool] = {}
        for flag in flags:
            key, _, value = flag.strip().removeprefix("-W").strip().partition("=")
            for name in _FLAGS.get(key.strip().replace("_", "-"), ()):
                chosen[name] = value.strip() not in ("n", "no", "false")
        return attrs.evolve(cls.shipped(), **chosen)


_FLAGS: dict[str, tuple[str, ...]] = {
    "component-model-async": ("async_",),
    "component-model-async-builtins": ("more_async_builtins",),
    "component-model-async-stackful": ("stackful",),
    "component-model-more-async-builtins": ("more_async_builtins",),
    "component-model-threading": ("threads",),
    "component-model-error-context": ("error_context",),
    "component-model-fixed-length-lists": ("fixed_length_lists",),
    "component-model-fixed-size-list": ("fixed_length_lists",),
    "component-model-map": ("map",),
    "component-model-implements": ("implements", "external_id"),
    "component-model-values": ("values",),
    "component-model-nested-names": ("nested_names",),
    "component-model-memory64": ("memory64",),
}
_FLAGS.update({name.replace("component-model-", "cm-"): fields for name, fields in list(_FLAGS.items())})
_FLAGS.update({f.name.strip("_").replace("_", "-"): (f.name,) for f in attrs.fields(Features)})
