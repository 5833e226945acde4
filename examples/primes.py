"""A core module: one import, one export, a trap and a limit of fuel."""

from __future__ import annotations

from pathlib import Path

import core_rt

GUEST = Path(__file__).parent / "guest" / "primes.wasm"


def main() -> None:
    engine = core_rt.Engine(core_rt.Config(consume_fuel=True))
    module = core_rt.Module.from_file(engine, GUEST)
    found: list[int] = []
    linker = core_rt.Linker(engine)
    linker.define_func("host", "report", core_rt.FuncType([core_rt.I32], []), found.append)

    with core_rt.Store(engine) as store:
        store.fuel = 1_000_000
        primes = linker.instantiate(store, module).exports["primes"]
        print(primes(50), "primes below 50:", *found)
        try:
            primes(70_000)
        except core_rt.Trap as trap:
            print("more than the guest has room for:", trap.code.name)
        store.fuel = 1000
        try:
            primes(65_536)
        except core_rt.WasmError as error:
            print("with little fuel:", str(error).splitlines()[0])


if __name__ == "__main__":
    main()
