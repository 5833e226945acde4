"""`wasi:random` 0.3: as in 0.2, but whoever asks for very many bytes gets some of them."""

from __future__ import annotations

from typing import Final

from component_rt.wasi import random as older
from component_rt.wasi.p3 import Host

__all__ = ["Insecure", "InsecureSeed", "Random"]

_MOST: Final = 1 << 20
"""Bytes that one call gives: a guest that wants more asks again."""


class Random(older.Random):
    """`wasi:random/random`: from the operating system, unless the configuration replaces it."""

    def get_random_bytes(self, max_len: int) -> bytes:
        """Unpredictable bytes: `max_len`, or a MiB if that is less."""
        return super().get_random_bytes(min(max_len, _MOST))


class Insecure(older.Insecure):
    """`wasi:random/insecure`: a fast generator whose numbers can be predicted."""

    def get_insecure_random_bytes(self, max_len: int) -> bytes:
        """Pseudo-random bytes: `max_len`, or a MiB if that is less."""
        return super().get_insecure_random_bytes(min(max_len, _MOST))


class InsecureSeed(older.InsecureSeed):
    """`wasi:random/insecure-seed`."""

    get_insecure_seed = older.InsecureSeed.insecure_seed


def interfaces(host: Host) -> dict[str, object]:
    """The interfaces of this package by name."""
    config = host.config
    return {"insecure": Insecure(config), "insecure-seed": InsecureSeed(config), "random": Random(config)}
