"""A component: an import given by a Python object, exports with records, lists, results and a resource."""

from __future__ import annotations

from pathlib import Path

import component_rt as rt

GUEST = Path(__file__).parent / "guest" / "greeter.wasm"


class Log:
    """Implements the interface `example:greeter/log`."""

    def log(self, level: object, message: str) -> None:
        print(f"[{getattr(level, 'name', level)}] {message}")


def main() -> None:
    engine = rt.Engine()
    component = rt.Component.from_file(engine, GUEST)
    linker = rt.Linker(engine)
    linker.define("example:greeter/log", Log())

    with rt.Store(engine) as store:
        instance = linker.instantiate(store, component)
        print(instance.exports["hello"]("Ada"))

        greetings = instance.exports["example:greeter/greetings"]
        print(greetings.greet(greetings.Person(name="Zoë", age=12)))
        print(greetings.greet_all([{"name": "Bob", "age": 40}, {"name": "Eve", "age": 7}]))
        try:
            greetings.greet_all([])
        except rt.Err as error:
            print("refused:", error.value)

        with greetings.Counter(5) as counter:
            print(counter.increment(2), counter.increment(3))


if __name__ == "__main__":
    main()
