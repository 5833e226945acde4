"""`wasi:random`: secure and insecure random numbers."""

from __future__ import annotations

from component_rt.wasi.config import WasiConfig
from core_rt.errors import Trap, TrapCode

__all__ = ["Insecure", "InsecureSeed", "Random"]

_MAX_LENGTH = 64 << 20
"""Bytes a guest may ask for at once: a list it could never lower is refused before it is made."""


def _checked(length: int) -> int:
    if length > _MAX_LENGTH:
        raise Trap(TrapCode.HOST, f"{length} random bytes are more than the {_MAX_LENGTH} that are given at once")
    return length


class Random:
    """`wasi:random/random`: from the operating system, unless the configuration replaces it."""

    def __init__(self, config: WasiConfig) -> None:
        self._bytes = config.random_bytes

    def get_random_bytes(self, len: int) -> bytes:
        """`len` unpredictable bytes. Raises `Trap` for more than 64 MiB."""
        return self._bytes(_checked(len))

    def get_random_u64(self) -> int:
        """An unpredictable u64."""
        return int.from_bytes(self._bytes(8), "little")


class Insecure:
    """`wasi:random/insecure`: a fast generator whose numbers can be predicted."""

    def __init__(self, config: WasiConfig) -> None:
        generator = config.insecure_generator()
        self._bytes = generator.randbytes
        self._bits = generator.getrandbits

    def get_insecure_random_bytes(self, len: int) -> bytes:
        """`len` pseudo-random bytes. Raises `Trap` for more than 64 MiB."""
        return self._bytes(_checked(len))

    def get_insecure_random_u64(self) -> int:
        """A pseudo-random u64."""
        return self._bits(64)


class InsecureSeed:
    """`wasi:random/insecure-seed`."""

    def __init__(self, config: WasiConfig) -> None:
        bits = config.insecure_generator().getrandbits
        self._seed = bits(64), bits(64)

    def insecure_seed(self) -> tuple[int, int]:
        """128 bits to seed hash tables with: the same for every call."""
        return self._seed


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {
        "wasi:random/insecure": Insecure(config),
        "wasi:random/insecure-seed": InsecureSeed(config),
        "wasi:random/random": Random(config),
    }
