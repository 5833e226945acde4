"""A host of the shop world in a trio store, for the type checker: host functions may be `def` or `async def`."""

from __future__ import annotations

from shop_async import Price, Shop, define_imports

import component_rt.values as values


class Log:
    class Sink:
        def __init__(self, name: str) -> None:
            self.name = name

        async def write(self, line: str) -> int:
            return len(line)

        @staticmethod
        def merge(a: Log.Sink, b: Log.Sink) -> Log.Sink:
            return Log.Sink(a.name + b.name)

    async def current(self) -> Log.Sink:
        return Log.Sink("current")

    def raw(self, data: bytes, from_: values.Some[int | None] | None) -> bytes:
        return data


class World:
    async def audit(self, line: str) -> None:
        print(line)


class WrongLog(Log):
    async def raw(self, data: bytes, from_: values.Some[int | None] | None) -> str:  # type: ignore[override]
        return "text"


async def use(linker: object, instance: object) -> int:
    define_imports(linker, log=Log(), backup=Log(), imports=World())
    define_imports(linker, log=WrongLog(), backup=Log(), imports=World())  # type: ignore[arg-type]
    shop = Shop(instance)
    order = await shop.orders.Order(["pen"])
    price: Price = await order.total()
    stream = await shop.orders.watch(["a", "b"])
    async for chunk in stream:
        print(len(chunk))
    future = await shop.orders.later(price)
    await future
    await shop.main(["-v"])
    return price.amount
