"""What kind of file it is, and the engine to run it with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core_rt.errors import DecodeError, LinkError

if TYPE_CHECKING:
    from component_rt.cli.commands import Grants
    from core_rt import Engine, Limits

__all__ = ["explaining_imports", "is_component", "make_engine", "make_limits", "read_wasm"]

_MAGIC = b"\0asm"


def read_wasm(path: Path) -> bytes:
    """The bytes of a file. Raises `DecodeError` if they are no WebAssembly binary."""
    data = path.read_bytes()
    if data[:4] != _MAGIC:
        hint = "; it looks like the text format, which must be encoded first" if data.lstrip()[:1] == b"(" else ""
        raise DecodeError(f"{path} is no WebAssembly binary{hint}")
    return data


@contextlib.contextmanager
def explaining_imports() -> Iterator[None]:
    """Say what the command line can do about imports that are missing. Raises `LinkError`."""
    try:
        yield
    except LinkError as error:
        raise LinkError(
            f"{error}\nThe command line gives WASI only. With --unknown-imports-trap the guest runs until it calls anything else."
        ) from None


def is_component(data: bytes) -> bool:
    """Whether a binary is a component rather than a core module: the layer field of the preamble says."""
    return data[6:8] == b"\x01\x00"


def make_engine(grants: Grants) -> Engine:
    """An engine with the options' settings."""
    from core_rt import Config, Engine

    config = Config(
        cache=grants.cache,
        consume_fuel=grants.fuel is not None,
        tiers="optimized" if grants.optimize else "lazy",
    )
    return Engine(config)


def make_limits(grants: Grants) -> Limits:
    """A store's limits from the options."""
    from core_rt import Limits

    return Limits() if grants.max_memory is None else Limits(memory_bytes=int(grants.max_memory))
