"""Classes of values are called what the interface calls them, whatever the code behind it calls its types."""

from __future__ import annotations

import trio

import component_rt as rt

from .guests import engine, instantiate, load

# The function is lifted with types that have no name; a component around it exports it with names.
SHIM = """(component
  (core module $m (func (export "next") (param i32) (result i32) (i32.sub (i32.const 1) (local.get 0))))
  (core instance $i (instantiate $m))
  (type $plain (enum "red" "blue"))
  (func $f (param "c" $plain) (result $plain) (canon lift (core func $i "next")))
  (component $shim
    (type $enum (enum "red" "blue"))
    (import "plain" (type $plain (eq $enum)))
    (import "f" (func $f (param "c" $plain) (result $plain)))
    (export $color "{name}" (type $plain))
    (export "next" (func $f) (func (param "c" $color) (result $color))))
  (instance $one (instantiate $shim (with "plain" (type $plain)) (with "f" (func $f))))
  (export "a:b/one" (instance $one)))"""


def test_names_come_from_the_export() -> None:
    with rt.Store(engine()) as store:
        color, hue = (instantiate(store, SHIM.replace("{name}", name)).exports["a:b/one"] for name in ("color", "hue"))
        assert color.next("red") is color.Color.BLUE
        assert hue.next(hue.Hue.BLUE) is hue.Hue.RED
        assert repr(color.next("red")) == "<Color.BLUE: 1>"


def test_in_a_trio_store_too() -> None:
    async def main() -> None:
        async with rt.open_store(engine()) as store:
            instance = await rt.Linker(engine()).instantiate_async(store, load(SHIM.replace("{name}", "color")))
            api = instance.exports["a:b/one"]
            assert await api.next("red") is api.Color.BLUE

    trio.run(main)


def test_a_function_under_other_names_is_one_thing() -> None:
    with rt.Store(engine()) as store:
        api = instantiate(store, SHIM.replace("{name}", "color")).exports["a:b/one"]
        assert api._item("next") is api._item("next")
