"""A host of the shop world, for the type checker: what is right here must be found right, what is marked must not."""

from __future__ import annotations

from shop import (
    Error,
    Error_None,
    Error_NotFound,
    Error_TooMany,
    Order,
    Price,
    Rights,
    Shop,
    State,
    define_imports,
)

import component_rt.values as values


class Log:
    class Sink:
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self, line: str) -> int:
            return len(line)

        @staticmethod
        def merge(a: Log.Sink, b: Log.Sink) -> Log.Sink:
            return Log.Sink(a.name + b.name)

    def current(self) -> Log.Sink:
        return Log.Sink("current")

    def raw(self, data: bytes, from_: values.Some[int | None] | None) -> bytes:
        if not data:
            raise values.Err("empty")
        return data


class World:
    def audit(self, line: str) -> None:
        print(line)


class WrongLog:
    Sink = Log.Sink

    def current(self) -> str:
        return "no sink"

    def raw(self, data: bytes, from_: values.Some[int | None] | None) -> bytes:
        return data


def show(error: Error) -> str:
    match error:
        case Error_NotFound(value=name):
            return name
        case Error_TooMany(value=count):
            return str(count if count is not None else 0)
        case Error_None():
            return "none"
    return "?"


def use(linker: object, instance: object) -> int:
    define_imports(linker, log=Log(), backup=Log(), imports=World())
    define_imports(linker, log=WrongLog(), backup=Log(), imports=World())  # type: ignore[arg-type]
    shop = Shop(instance)
    with shop.orders.Order(["pen"]) as order:
        price = order.total()
        shop.orders.update(order, State.SENT, Rights.READ | Rights.WRITE)
        names: list[tuple[str, Price]] = order.list()
        shop.orders.update(order, "sent", Rights.READ)  # type: ignore[arg-type]
    found: Order | None = shop.orders.find(7)
    reports: list[values.Ok[None] | values.Err] = shop.orders.nested(values.Ok(3))
    if found is not None:
        print(show(Error.NotFound("x")), names, reports, shop.orders.stock()["pen"])
    shop.main(["-v"])
    return price.amount
