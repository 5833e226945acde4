"""Typed Python bindings of a world, as one module of source text.

What the module holds, for a world `app` that imports `log` and exports `api`:

- a class for every record, variant, enum and flags type, which the runtime then uses for the values of components too
  (`adopt`): frozen attrs classes `Point`, `Shape` with `Shape_Circle`, and so on;
- for `log`, which the host implements, a `Protocol` `Log`, and `define_imports(linker, log=…)`;
- for `api`, which the guest implements, a `Protocol` `Api`, and the class `App`, whose attributes are the typed exports
  of an instance: `App(instance).api.area(Shape_Circle(1.5))`.

Names are those of componentize-py. Where two types would have one name, both are prefixed by their interface.
"""

from __future__ import annotations

from wit.bindgen.module import generate

__all__ = ["generate"]
