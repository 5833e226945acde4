"""Random packages, built with the constructors of `wit.model`."""

from __future__ import annotations

from hypothesis import strategies as st

from wit.lexer import KEYWORDS
from wit.model import (
    BorrowType,
    Case,
    Enum,
    EnumCase,
    Field,
    Flag,
    Flags,
    Function,
    FutureType,
    Gate,
    Interface,
    InterfaceItem,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Package,
    Param,
    Prim,
    Record,
    Resolve,
    Resource,
    ResultType,
    StreamType,
    TupleType,
    Type,
    TypeDef,
    Variant,
    World,
)
from wit.names import strong_key
from wit.structure import reachable_packages
from wit.world import elaborate

_WORDS = st.from_regex(r"[a-z][0-9a-z]{0,2}(-[0-9a-z]{1,2}){0,2}", fullmatch=True)
_ACRONYMS = st.from_regex(r"[a-z][0-9a-z]?-[A-Z][A-Z0-9]?|[A-Z][A-Z0-9]{0,2}", fullmatch=True)
LABELS = _WORDS | _ACRONYMS | st.sampled_from(sorted(KEYWORDS))
PACKAGE_LABELS = _WORDS | st.sampled_from(sorted(KEYWORDS))
VERSIONS = st.sampled_from([None, "1.0.0", "0.2.3-rc.1+build.7"])

_LINES = st.text(
    st.characters(
        exclude_categories=["C", "Zl", "Zp"],
        exclude_characters="\u2329\u232a\u0149\u0673\u17a3\u17a4\u17b4\u17b5\u0f77\u0f79",
    ),
    min_size=1,
    max_size=12,
)
DOCS = st.none() | st.lists(_LINES.map(str.rstrip), min_size=1, max_size=3).map("\n".join).filter(bool)
EXTERNAL_IDS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def labels(draw: st.DrawFn, least: int = 0, most: int = 4, among: st.SearchStrategy[str] = LABELS) -> list[str]:
    """Labels that are strongly unique."""
    return draw(st.lists(among, min_size=least, max_size=most, unique_by=strong_key))


@st.composite
def types(draw: st.DrawFn, known: list[TypeDef], depth: int = 2) -> Type:
    """A type without borrows, over primitive types and the given named ones."""
    kinds = ["prim"] * 3 + ["named"] * (3 if known else 0)
    if depth:
        kinds += ["list", "fixed", "tuple", "option", "result", "map", "stream", "future"]
    inner = types(known, depth - 1)
    match draw(st.sampled_from(kinds)):
        case "named":
            typedef = draw(st.sampled_from(known))
            return OwnType(typedef) if typedef.is_resource else typedef
        case "list":
            return ListType(draw(inner))
        case "fixed":
            return ListType(draw(inner), draw(st.integers(1, 2**32 - 1)))
        case "tuple":
            return TupleType(tuple(draw(st.lists(inner, min_size=1, max_size=3))))
        case "option":
            return OptionType(draw(inner))
        case "result":
            return ResultType(draw(st.none() | inner), draw(st.none() | inner))
        case "map":
            keys = [prim for prim in Prim if prim not in (Prim.F32, Prim.F64, Prim.ERROR_CONTEXT)]
            return MapType(draw(st.sampled_from(keys)), draw(inner))
        case "stream":
            return StreamType(draw(st.none() | inner))
        case "future":
            return FutureType(draw(st.none() | inner))
    return draw(st.sampled_from(Prim))


@st.composite
def typedefs(draw: st.DrawFn, name: str, known: list[TypeDef], gate: Gate) -> TypeDef:
    """A definition or alias over the types known so far."""
    docs, some = DOCS, labels(1, 4)
    kind: object
    match draw(st.sampled_from(["record", "variant", "enum", "flags", "resource", "alias", "anonymous"])):
        case "record":
            kind = Record(tuple(Field(label, draw(types(known)), draw(docs)) for label in draw(some)))
        case "variant":
            kind = Variant(tuple(Case(label, draw(st.none() | types(known)), draw(docs)) for label in draw(some)))
        case "enum":
            kind = Enum(tuple(EnumCase(label, draw(docs)) for label in draw(some)))
        case "flags":
            kind = Flags(tuple(Flag(label, draw(docs)) for label in draw(some)))
        case "resource":
            kind = Resource()
        case "alias" if known:
            kind = draw(st.sampled_from(known))
        case _:
            kind = draw(types(known).filter(lambda t: not isinstance(t, TypeDef)))
    return TypeDef(name, kind, draw(DOCS), gate, draw(EXTERNAL_IDS))  # type: ignore[arg-type]


@st.composite
def functions(
    draw: st.DrawFn, name: str, known: list[TypeDef], gate: Gate, resource: TypeDef | None = None
) -> Function:
    """A free function, or one of a resource."""
    kind = "" if resource is None else draw(st.sampled_from(["method", "static"]))
    inner = types(known)
    resources = [t for t in known if t.is_resource]
    if resources:
        inner = inner | st.sampled_from(resources).map(BorrowType)
    names = [label for label in draw(labels(0, 3)) if kind != "method" or strong_key(label) != "self"]
    params = [Param(label, draw(inner)) for label in names]
    if kind == "method":
        assert resource is not None
        params.insert(0, Param("self", BorrowType(resource)))
    result = draw(st.none() | types(known))
    return Function(
        name, tuple(params), result, draw(st.booleans()), kind, resource, draw(DOCS), gate, draw(EXTERNAL_IDS)
    )


@st.composite
def constructors(draw: st.DrawFn, resource: TypeDef, known: list[TypeDef], gate: Gate) -> Function:
    params = tuple(Param(label, draw(types(known))) for label in draw(labels(0, 2)))
    result: Type = OwnType(resource)
    if draw(st.booleans()):
        result = ResultType(result, draw(st.none() | types(known)))
    return Function(resource.name, params, result, False, "constructor", resource, draw(DOCS), gate)


@st.composite
def interfaces(draw: st.DrawFn, name: str | None, others: list[Interface], gate: Gate) -> Interface:
    """An interface that may use types of others."""
    interface = Interface(name, docs=draw(DOCS) if name else None, gate=gate if name else Gate())
    names = draw(labels(0, 8))
    known: list[TypeDef] = []
    offered = [typedef for other in others for typedef in other.types.values()]
    if offered:
        for target in draw(st.lists(st.sampled_from(offered), max_size=2)):
            if names:
                known.append(interface.add_type(TypeDef(names.pop(), target, draw(DOCS), gate)))
    for label in names[: len(names) // 2]:
        known.append(interface.add_type(draw(typedefs(label, known, gate))))
    for typedef in known:
        if isinstance(typedef.kind, Resource):
            if draw(st.booleans()):
                interface.add_function(draw(constructors(typedef, known, gate)))
            for label in draw(labels(0, 2)):
                if strong_key(label) != strong_key(typedef.name):
                    interface.add_function(draw(functions(label, known, gate, typedef)))
    for label in names[len(names) // 2 :]:
        interface.add_function(draw(functions(label, known, gate)))
    return interface


@st.composite
def worlds(draw: st.DrawFn, name: str, others: list[Interface], gate: Gate) -> World:
    """A world that imports and exports functions and interfaces and has types of its own."""
    world = World(name, docs=draw(DOCS), gate=gate)
    known: list[TypeDef] = []
    for label in draw(labels(0, 6)):
        match draw(st.sampled_from(["type", "use", "func", "inline", "named"])):
            case "type":
                typedef = draw(typedefs(label, known, gate))
                known.append(typedef)
                world.add_import(typedef)
            case "use" if any(other.types for other in others):
                offered = [typedef for other in others for typedef in other.types.values()]
                typedef = TypeDef(label, draw(st.sampled_from(offered)), None, gate)
                known.append(typedef)
                world.add_import(typedef)
            case "func":
                world.add_import(draw(functions(label, known, gate)))
            case "named" if others:
                item = InterfaceItem(draw(st.sampled_from(others)), None, gate, draw(EXTERNAL_IDS))
                world.add_import(item, label)
            case _:
                inline = draw(interfaces(None, others, gate))
                world.add_import(InterfaceItem(inline, draw(DOCS), gate, draw(EXTERNAL_IDS)), label)
    for other in others:
        if draw(st.booleans()):
            world.add_import(InterfaceItem(other, None, gate))
    for label in draw(labels(0, 3)):
        if draw(st.booleans()):
            world.add_export(draw(functions(label, known, gate)))
        else:
            world.add_export(InterfaceItem(draw(interfaces(None, others, gate)), draw(DOCS), gate), label)
    if others and draw(st.booleans()):
        world.add_export(InterfaceItem(others[-1], None, gate))
    return world


@st.composite
def documents(draw: st.DrawFn) -> Resolve:
    """A package and one that it depends on."""
    dependency = Package("dep", draw(PACKAGE_LABELS), draw(VERSIONS))
    package = Package(
        draw(PACKAGE_LABELS.filter(lambda n: n != "dep")), draw(PACKAGE_LABELS), draw(VERSIONS), docs=draw(DOCS)
    )
    made: list[Interface] = []
    for home in (dependency, package):
        gate = draw(
            st.sampled_from([Gate(), Gate(unstable="f-x")] + [Gate("0.2.0", None, "0.2.1")] * bool(home.version))
        )
        names = draw(labels(1, 4))
        for label in names[:-1]:
            interface = draw(interfaces(label, made, gate))
            home.add(interface)
            made.append(interface)
        if home is package:
            world = draw(worlds(names[-1], made, gate))
            home.add(world)
            for typedef in world.types.values():
                assert typedef.owner is world
            elaborate(world)
    document = Resolve(package, {p.id: p for p in reachable_packages(package)})
    return document
