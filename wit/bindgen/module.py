"""A world → the text of its bindings module."""

from __future__ import annotations

import functools
import json
import re
import textwrap
from collections.abc import Hashable, Iterable, Iterator

import attrs

from wit.bindgen.naming import allot, camel_names, class_suffix, param_names, shadowed_builtins, snake_names, sort_key
from wit.bindgen.types import Annotator, Flow, heavy_aliases
from wit.model import (
    Case,
    Enum,
    Flags,
    Function,
    Interface,
    InterfaceItem,
    Record,
    Resource,
    ResultType,
    TypeDef,
    Variant,
    World,
)
from wit.names import is_interface_name, kebab_to_camel, kebab_to_shouty, kebab_to_snake, parse_interface_id

__all__ = ["generate"]

_WIDTH = 120
_MODULES = (
    (
        ("_builtins", "import builtins as _builtins"),
        ("_abc", "import collections.abc as _abc"),
        ("_enum", "import enum as _enum"),
        ("_typing", "import typing as _typing"),
    ),
    (
        ("_attrs", "import attrs as _attrs"),
        ("_values", "import component_rt.values as _values"),
        ("_trio", "import trio as _trio"),
    ),
)
_WRAP = functools.partial(textwrap.wrap, width=100, break_long_words=False, break_on_hyphens=False)
_RESERVED = ("define_imports",)


def generate(world: World, asynchronous: bool = False) -> str:
    """Python source of typed bindings for a world, for Python 3.11 or later; clean under ruff and `mypy --strict`.

    `asynchronous`: for a trio store, where exports are awaited and host functions may be `async def`.
    """
    return _Module(world, asynchronous).text()


@attrs.frozen
class _Item:
    """An import or export of the world that is an interface, or all its functions at the root together."""

    key: str | None
    interface: Interface | None
    exported: bool
    functions: tuple[Function, ...]
    resources: tuple[TypeDef, ...]


_DOUBTFUL = {
    "E741": r"(?<![\w.])[lOI](: | = )",
    "E742": r"^ *class [lOI]\b",
    "E743": r"^ *(async )?def [lOI]\b",
}
"""What a linter says to a name, and how such a name is defined."""


class _Module:
    def __init__(self, world: World, asynchronous: bool) -> None:
        self._world = world
        self._async = asynchronous
        self._items = [*_items(world, False), *_items(world, True)]
        self._exported = {item.interface for item in self._items if item.exported and item.interface is not None}
        self._definitions = list(_definitions(world))
        self._labels = _labels(world)
        self._heavy = heavy_aliases(self._definitions)
        self._names = self._allot_names()
        labels = [f.name for item in self._items for f in item.functions]
        labels += [_item_label(item)[0] for item in self._items if item.key is not None]
        for definition in self._definitions:
            if isinstance(definition.kind, Record):
                labels += [field.name for field in definition.kind.fields]
        self._shadowed = shadowed_builtins(map(kebab_to_snake, labels))

    # ---- names ----

    def _allot_names(self) -> dict[Hashable, str]:
        """Types choose first, then resources' classes and interfaces."""
        types: list[tuple[Hashable, list[str]]] = []
        others: list[tuple[Hashable, list[str]]] = []
        for definition in self._definitions:
            if not isinstance(definition.kind, Resource):
                types.append((definition, _wish(definition.name, definition.owner)))
        both = {item.key for item in self._items if item.exported} & {i.key for i in self._items if not i.exported}
        for item in self._items:
            side = "" if item.key not in both else "Export" if item.exported else "Import"
            if item.key is not None:
                label, owner = _item_label(item)
                wishes = [f"{wish}{side}{tail}" for wish in _wish(label, owner) for tail in ("", "Interface")]
                others.append(((item.key, item.exported), wishes))
            elif not item.exported:
                others.append(((None, False), [kebab_to_camel(self._world.name) + "Imports"]))
            for resource in item.resources:
                wishes = [f"{wish}{side}" for wish in _wish(resource.name, resource.owner)]
                types.append(((resource, item.exported), wishes))
                others.append(((resource, item.exported, "class"), [f"{wish}Class" for wish in wishes]))
        names = allot(types, _RESERVED)
        world = kebab_to_camel(self._world.name)
        names |= allot([(self._world, [world, f"{world}World"])], [*_RESERVED, *names.values()])
        return names | allot(others, [*_RESERVED, *names.values()])

    def _annotator(self, exported: bool, hidden: frozenset[str] = frozenset()) -> Annotator:
        """For the functions of an import or an export. `hidden` names are members of the class that it writes for."""

        def named(typedef: TypeDef, flow: Flow) -> str:
            name = self._names.get(typedef)
            if name is None:
                guest = exported and typedef.owner in self._exported
                if not guest and flow is Flow.TAKES:
                    return "_typing.Any"  # the host's own object, of whatever class it has there
                name = self._names[typedef, guest]
            return f"_{name}" if name in hidden else name

        return Annotator(named, self._shadowed, self._heavy)

    # ---- text ----

    def text(self) -> str:
        blocks = [block for definition in self._definitions for block in self._definition(definition)]
        done: set[tuple[TypeDef, bool]] = set()  # an interface may be imported under several names
        for item in self._items:
            for resource in item.resources:
                if (resource, item.exported) not in done:
                    blocks += self._resource(item, resource)
                    done.add((resource, item.exported))
            if item.key is not None or not item.exported:
                blocks.append(self._interface(item))
        blocks += self._define_imports()
        blocks.append(self._world_class())
        body = "\n\n\n".join("\n".join(block) for block in blocks)
        # Where a member of a class hides a class of the module, the latter goes by a second name.
        aliases = [f"_{name}: _typing.TypeAlias = {name}" for name in sorted(self._public()) if f"_{name}" in body]
        aliases = [alias for alias in aliases if re.search(rf"\b{alias.partition(':')[0]}\b", body)]
        if aliases:
            body += "\n\n\n" + "\n".join(aliases)
        head = [f'"""Bindings of the world `{self._world.id}`, generated from WIT: do not edit."""', ""]
        # names of one letter that are easily confused, but are what WIT says
        doubtful = [code for code, pattern in _DOUBTFUL.items() if re.search(pattern, body, re.M)]
        if doubtful:
            head = [f"# ruff: noqa: {', '.join(doubtful)}", *head]
        head += ["from __future__ import annotations", ""]
        groups = ([line for name, line in group if f"{name}." in body] for group in _MODULES)
        for group in filter(None, groups):
            head += [*group, ""]
        public = sorted(self._public(), key=sort_key)
        head += ["__all__ = [", *(f'    "{name}",' for name in public), "]", "", ""]
        return "\n".join([*head, body]) + "\n"

    def _public(self) -> Iterator[str]:
        for key, name in self._names.items():
            yield name
            if isinstance(key, TypeDef) and isinstance(key.kind, Variant):
                yield from (f"{name}_{class_suffix(case)}" for case in camel_names(c.name for c in key.kind.cases))
        if any(not item.exported for item in self._items):
            yield "define_imports"

    def _definition(self, definition: TypeDef) -> Iterator[list[str]]:
        """The classes of a named type, or its alias. Fields are typed as what Python takes: so they are read back."""
        types = self._annotator(definition.owner in self._exported)
        doc = definition.docs or f"WIT: `{definition.id}`."
        match definition.kind:
            case Record(fields=fields):
                labels = zip(snake_names(field.name for field in fields), fields, strict=True)
                rows = ((label, types.of(field.type, Flow.TAKES), field.docs) for label, field in labels)
                yield [
                    *self._adopt("record", definition, [field.name for field in fields]),
                    "@_attrs.frozen(slots=False)",
                    f"class {self._names[definition]}:",
                    *_doc(doc),
                    "",
                    *self._rows(": ", rows),
                ]
            case Variant(cases=cases):
                yield from self._variant(definition, cases, types, doc)
            case Enum(cases=cases):
                rows = ((kebab_to_shouty(c.name), str(i), c.docs) for i, c in enumerate(cases))
                yield [
                    *self._adopt("enum", definition, [case.name for case in cases]),
                    f"class {self._names[definition]}(_enum.Enum):",
                    *_doc(doc),
                    "",
                    *self._rows(" = ", rows),
                ]
            case Flags(flags=flags):
                rows = ((kebab_to_shouty(f.name), f"{1 << i:#x}", f.docs) for i, f in enumerate(flags))
                yield [
                    *self._adopt("flags", definition, [flag.name for flag in flags]),
                    f"class {self._names[definition]}(_enum.Flag, boundary=_enum.STRICT):",
                    *_doc(doc),
                    "",
                    *self._rows(" = ", rows),
                ]
            case Resource():
                pass
            case _:
                target = _string(types.of(definition, Flow.TAKES))
                yield [f"{self._names[definition]}: _typing.TypeAlias = {target}", *_doc(doc, "")]

    def _variant(self, definition: TypeDef, cases: tuple[Case, ...], types: Annotator, doc: str) -> Iterator[list[str]]:
        name = self._names[definition]
        camels = camel_names(case.name for case in cases)
        classes = [f"{name}_{class_suffix(camel)}" for camel in camels]
        members = [f"    {camel}: _typing.ClassVar[type[{cls}]]" for camel, cls in zip(camels, classes, strict=True)]
        yield [f"class {name}(_values.VariantValue):", *_doc(doc), "", "    __slots__ = ()", *members]
        for cls, case in zip(classes, cases, strict=True):
            value = [] if case.type is None else [f"    value: {types.of(case.type, Flow.TAKES)}"]
            case_doc = _doc(case.docs or f"Case `{case.name}` of `{name}`.")
            head = ["@_attrs.frozen(slots=False)", f"class {cls}({name}):", *case_doc]
            yield [*head, "", f"    label = {_string(case.name)}", *value]
        adopt = [_call("_values.adopt_variant", [_string(label), name, *classes]) for label in self._labels[definition]]
        yield [*(f"{name}.{camel} = {cls}" for camel, cls in zip(camels, classes, strict=True)), *adopt]

    def _adopt(self, kind: str, definition: TypeDef, parts: list[str]) -> list[str]:
        """Decorators that make the runtime use a class for the type under each of its names."""
        return [
            _call("@_values.adopt", [_string(kind), _string(label), *map(_string, parts)])
            for label in self._labels[definition]
        ]

    @staticmethod
    def _rows(between: str, rows: Iterable[tuple[str, str, str | None]]) -> Iterator[str]:
        for label, value, docs in rows:
            yield f"    {label}{between}{value}"
            if docs is not None:
                yield from _doc(docs)

    # ---- functions, resources, interfaces ----

    def _function(
        self, function: Function, exported: bool, name: str | None = None, hidden: frozenset[str] = frozenset()
    ) -> list[str]:
        """A method of a protocol: what the host calls (`exported`) or implements."""
        types = self._annotator(exported, hidden)
        into, out = (Flow.GIVES, Flow.TAKES) if exported else (Flow.TAKES, Flow.GIVES)
        params = function.params[1:] if function.kind == "method" else function.params
        labels = param_names(p.name for p in params)
        shown = [f"{label}: {types.of(p.type, into)}" for label, p in zip(labels, params, strict=True)]
        result = types.result(function.result, out)
        prefix = ""
        if self._async:
            if exported:
                prefix = "async "
            else:
                result = f"_abc.Awaitable[{result}] | {result}"
        name = name or kebab_to_snake(function.name)
        rows = ["self", *shown, *(["/"] if shown else [])]
        arguments = ", ".join(rows)
        head = f"    {prefix}def {name}({arguments}) -> {result}:"
        if len(head) > _WIDTH:
            inside = f"        {arguments}"
            lines = [inside] if len(inside) <= _WIDTH and shown else [f"        {row}," for row in rows]
            if len(f"    ) -> {result}: ...") > _WIDTH:
                parts = _alternatives(result)
                result = "\n".join(["(", *(f"        {'| ' * (i > 0)}{part}" for i, part in enumerate(parts)), "    )"])
            head = "\n".join([f"    {prefix}def {name}(", *lines, f"    ) -> {result}:"])
        doc = _function_doc(function, types, out)
        if doc is None:
            return [f"{head} ..."]
        return [head, *("    " + line if line else "" for line in _doc(doc))]

    def _resource(self, item: _Item, resource: TypeDef) -> Iterator[list[str]]:
        """Two protocols: of the resource's objects, and of the class that makes them."""
        name = self._names[resource, item.exported]
        functions = [f for f in item.functions if f.resource is resource]
        body: list[list[str]] = []
        if item.exported:
            body.append([f"    def __enter__(self) -> {name}: ..."])
            nothing = "*args: object"
            body.append([f"    def __exit__(self, {nothing}) -> None: ..."])
            close = '        """Drop the handle; the guest destroys the resource."""'
            body.append(["    def close(self) -> None:", close])
        body += [self._function(f, item.exported) for f in functions if f.kind == "method"]
        doc = resource.docs or f"An object of the resource `{resource.id}`."
        yield _class(f"{name}(_typing.Protocol)", doc, body)
        makers: list[list[str]] = []
        for function in functions:
            if function.kind == "constructor":
                makers.append(self._function(function, item.exported, name="__call__"))
            elif function.kind == "static":
                makers.append(self._function(function, item.exported))
        class_name = self._names[resource, item.exported, "class"]
        yield _class(f"{class_name}(_typing.Protocol)", f"The class of `{name}`.", makers)

    def _interface(self, item: _Item) -> list[str]:
        body: list[list[str]] = []
        hidden = frozenset(kebab_to_camel(resource.name) for resource in item.resources)
        for resource in item.resources:
            class_name = self._names[resource, item.exported, "class"]
            class_name = f"_{class_name}" if class_name in hidden else class_name
            body.append(["    @property", f"    def {kebab_to_camel(resource.name)}(self) -> {class_name}: ..."])
        body += [self._function(f, item.exported, None, hidden) for f in item.functions if f.resource is None]
        if item.interface is None:
            doc = f"The functions that the world `{self._world.id}` imports by themselves."
        else:
            what = "The guest implements" if item.exported else "The host implements"
            doc = f"{what} `{item.key}`."
            if item.interface.docs is not None:
                doc += f"\n\n{item.interface.docs}"
        return _class(f"{self._names[item.key, item.exported]}(_typing.Protocol)", doc, body)

    # ---- the world ----

    def _define_imports(self) -> Iterator[list[str]]:
        imports = [item for item in self._items if not item.exported]
        if not imports:
            return
        wanted, optional, body = [], [], []
        labels = allot([(item.key, [_snake(item), _long_snake(item)]) for item in imports], ("linker",))
        for item in imports:
            label, name = labels[item.key], self._names[item.key, False]
            indent = "    "
            if item.key is not None and item.key.startswith("wasi:"):
                optional.append(f"    {label}: {name} | None = None,")
                body.append(f"    if {label} is not None:")
                indent = "        "
            else:
                wanted.append(f"    {label}: {name},")
            if item.key is not None:
                body.append(f"{indent}linker.define({_string(item.key)}, {label})")
                continue
            for function in item.functions:
                if function.resource is None:
                    target = f"{label}.{kebab_to_snake(function.name)}"
                    body.append(f"{indent}linker.define({_string(function.name)}, {target})")
            for resource in item.resources:
                target = f"{label}.{kebab_to_camel(resource.name)}"
                body.append(f"{indent}linker.define({_string(resource.name)}, {target})")
        doc = f"Define in a linker what the world `{self._world.id}` imports (WASI where it is given here)."
        head = ["def define_imports(", "    linker: _typing.Any,", "    *,", *wanted, *optional, ") -> None:"]
        yield [*head, *_doc(doc), *body]

    def _world_class(self) -> list[str]:
        exports = [item for item in self._items if item.exported]
        labels = allot([(item.key, [_snake(item), _long_snake(item)]) for item in exports if item.key is not None])
        rows = []
        for item in exports:
            if item.key is not None:
                rows.append((labels[item.key], self._names[item.key, True], item.key))
                continue
            for function in item.functions:
                label = kebab_to_snake(function.name)
                label += "_" * (label in labels.values())
                rows.append((label, self._callable(function), function.name))
        lines = [f"class {self._names[self._world]}:"]
        lines += _doc(self._world.docs or f"The exports of an instance of the world `{self._world.id}`.")
        lines += ["", *(f"    {label}: {annotation}" for label, annotation, _ in rows), ""] if rows else [""]
        lines.append("    def __init__(self, instance: _typing.Any) -> None:")
        lines.append('        """Take a `component_rt` instance of a component that has this world."""')
        lines += [f"        self.{label} = instance.exports[{_string(key)}]" for label, _, key in rows]
        return lines

    def _callable(self, function: Function) -> str:
        types = self._annotator(True)
        params = ", ".join(types.of(p.type, Flow.GIVES) for p in function.params)
        result = types.result(function.result, Flow.TAKES)
        return f"_abc.Callable[[{params}], {f'_abc.Awaitable[{result}]' if self._async else result}]"


# ---- what a world has ----------------------------------------------------------------------------------------------


def _items(world: World, exported: bool) -> Iterator[_Item]:
    table = world.exports if exported else world.imports
    for key, item in table.items():
        if isinstance(item, InterfaceItem):
            interface = item.interface
            resources = tuple(t for t in interface.types.values() if isinstance(t.kind, Resource))
            functions = tuple(interface.functions.values())
            if functions or resources:
                yield _Item(key, interface, exported, functions, resources)
    functions = tuple(item for item in table.values() if isinstance(item, Function))
    resources = () if exported else tuple(t for t in world.types.values() if isinstance(t.kind, Resource))
    if functions or resources:
        yield _Item(None, None, exported, functions, resources)


def _definitions(world: World) -> Iterator[TypeDef]:
    """Every definition of a named type that the world's items reach, dependencies first, each once."""
    seen: dict[TypeDef, None] = {}
    for item in (*world.imports.values(), *world.exports.values()):
        if isinstance(item, InterfaceItem):
            for typedef in item.interface.types.values():
                seen.setdefault(typedef.definition)
        elif isinstance(item, TypeDef):
            seen.setdefault(item.definition)
    yield from seen


def _labels(world: World) -> dict[TypeDef, list[str]]:
    """Every name that a definition goes by in the world, its own first: the runtime calls a type by what introduced it."""
    labels: dict[TypeDef, list[str]] = {}
    for item in (*world.imports.values(), *world.exports.values()):
        typedefs = item.interface.types.values() if isinstance(item, InterfaceItem) else ()
        for typedef in (item,) if isinstance(item, TypeDef) else typedefs:
            known = labels.setdefault(typedef.definition, [typedef.definition.name])
            if typedef.name not in known:
                known.append(typedef.name)
    return labels


def _wish(label: str, owner: Interface | World | None) -> list[str]:
    """Names for something of an interface: short, with the interface, the package, the version."""
    camel = kebab_to_camel(label)
    wishes = [camel]
    if owner is not None and owner.name is not None and owner.name != label:
        wishes.append(kebab_to_camel(owner.name) + camel)
    package = None if owner is None else owner.package
    if package is not None:
        wishes.append(_package_camel(package.name) + wishes[-1])
        wishes.append(_package_camel(package.namespace) + wishes[-1])
        if package.version is not None:
            wishes.append(wishes[-1] + "".join(c if c.isalnum() else "_" for c in package.version))
    return wishes


def _package_camel(name: str) -> str:
    return "".join(kebab_to_camel(part) for part in name.replace("/", ":").split(":"))


def _item_label(item: _Item) -> tuple[str, Interface | None]:
    assert item.key is not None
    if is_interface_name(item.key):
        return parse_interface_id(item.key).interface, item.interface
    return item.key, None


def _snake(item: _Item) -> str:
    return "imports" if item.key is None else kebab_to_snake(_item_label(item)[0])


def _long_snake(item: _Item) -> str:
    if item.key is None or not is_interface_name(item.key):
        return _snake(item)
    id = parse_interface_id(item.key)
    return (
        "_".join(kebab_to_snake(part) for part in (*id.package.split("/"), id.interface))
        + "_"
        + "".join(c if c.isalnum() else "_" for c in id.version or "")
    )


# ---- pieces of source ----------------------------------------------------------------------------------------------


def _string(text: str) -> str:
    return json.dumps(text)


def _alternatives(union: str) -> list[str]:
    """The parts of an annotation `a | b[c | d]` between its outermost bars."""
    parts, depth = [""], 0
    for piece in re.split(r"( \| |[\[\]])", union):
        depth += (piece == "[") - (piece == "]")
        if piece == " | " and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _call(function: str, arguments: list[str]) -> str:
    """A call on one line, or if that is too long with one line for each argument."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return line
    if len(inside := f"    {', '.join(arguments)}") <= _WIDTH:
        return f"{function}(\n{inside}\n)"
    return "\n".join([f"{function}(", *(f"    {argument}," for argument in arguments), ")"])


def _class(head: str, doc: str, body: list[list[str]]) -> list[str]:
    lines = [f"class {head}:", *_doc(doc)]
    for method in body:
        lines += ["", *method]
    return lines


def _function_doc(function: Function, types: Annotator, flow: Flow) -> str | None:
    docs = function.docs
    if isinstance(function.result, ResultType) and function.kind != "constructor":
        error = function.result.error
        raised = "Raises `Err`" if error is None else f"Raises `Err` of `{types.of(error, flow)}`"
        docs = f"{docs}\n\n{raised}." if docs else f"{raised}."
    return docs


def _doc(text: str, indent: str = "    ") -> list[str]:
    """A docstring, indented."""
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    lines: list[str] = []
    for line in text.strip().split("\n"):
        margin = line[: len(line) - len(line.lstrip())]
        lines += _WRAP(line, subsequent_indent=margin) or [""]
    if len(lines) == 1:
        tail = " " if lines[0].endswith('"') else ""
        return [f'{indent}"""{lines[0]}{tail}"""']
    return [f'{indent}"""{lines[0]}', *(f"{indent}{line}".rstrip() for line in lines[1:]), f'{indent}"""']
