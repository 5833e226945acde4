"""The three ways in which a function runs, for tests that must not tell them apart."""

from __future__ import annotations

import pytest

import core_rt
from core_rt.interpret import functions
from tests.core.support import World

__all__ = ["NEVER", "TIERS", "engine_of", "world_of"]

TIERS = ("interpreted", "leaving", "quick")
"""In the interpreter for ever; in the interpreter, which is left at the second entry or the first loop head; compiled when first called."""
NEVER = 1 << 40


def set_budget(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    """How many entries and loop heads functions of modules made from now on are interpreted for; then the guest waits for quick code."""
    monkeypatch.setattr(functions, "BUDGET", budget)
    monkeypatch.setattr(functions, "BUDGET_PER_WORD", 0)
    monkeypatch.setattr("core_rt.compile.module._WAIT_WORDS", NEVER)


def engine_of(tier: str, monkeypatch: pytest.MonkeyPatch, **config: object) -> core_rt.Engine:
    """An engine where functions run as `TIERS` says."""
    set_budget(monkeypatch, NEVER if tier == "interpreted" else 1)
    engine = core_rt.Engine(core_rt.Config(cache=False, tiers="off" if tier == "quick" else "lazy", **config))  # type: ignore[arg-type]
    if tier == "leaving":
        assert engine.compiler.jit is not None  # else the first code would be made in the background
    return engine


def world_of(tier: str, monkeypatch: pytest.MonkeyPatch, **config: object) -> World:
    """As `engine_of`, with a store and a linker."""
    world = World.__new__(World)
    world.engine = engine_of(tier, monkeypatch, **config)
    world.store = core_rt.Store(world.engine)
    world.linker = core_rt.Linker(world.engine)
    return world
