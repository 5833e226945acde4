"""WIT tokens → syntax tree: recursive descent over the grammar of WIT.md, one method per production.

The grammar needs more than one token of lookahead in one place only: `import a:b/c;` is a path and `import a: b;` a
plain name with a path behind it, and only the space tells them apart (WIT.md, "Item: `world`").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from wit import ast
from wit.errors import Source, Span, WitError, near_name
from wit.lexer import KEYWORDS, Token, tokenize
from wit.names import is_kebab, is_package_label, is_semver

__all__ = ["MAX_TYPE_DEPTH", "parse_source"]

T = TypeVar("T")

MAX_TYPE_DEPTH = 100
"""How deep a type expression may nest; engines have limits of this size and Python's stack is finite."""

_PRIMITIVES = frozenset("bool char string u8 u16 u32 u64 s8 s16 s32 s64 f32 f64".split())
_MAP_KEYS = _PRIMITIVES - {"f32", "f64"}
# Types with arguments: how many at least and at most. `list` and `result` have forms of their own.
_ARGUMENTS = {"option": (1, 1), "tuple": (1, None), "map": (2, 2), "stream": (0, 1), "future": (0, 1)}
_FIELD_KINDS = {"record": True, "variant": None, "enum": False, "flags": False}  # whether its fields have types
_ESCAPE = re.compile(
    r"\\(?:u\{(?P<code>[0-9A-Fa-f]+(?:_[0-9A-Fa-f]+)*)\}|(?P<byte>[0-9A-Fa-f]{2})|(?P<letter>[tnr\"'\\]))"
)
_LETTERS = {"t": b"\t", "n": b"\n", "r": b"\r", '"': b'"', "'": b"'", "\\": b"\\"}


def parse_source(source: Source) -> ast.File:
    """Parse one document. Raises `WitError` with the span of the first thing that is wrong."""
    return _Parser(source).file()


class _Parser:
    __slots__ = ("_depth", "_index", "_source", "_tokens", "next")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens = tokenize(source)
        self._index = 0
        self._depth = 0
        self.next = self._tokens[0]

    # ---- tokens ----

    def advance(self) -> Token:
        token = self.next
        if token.kind != "end":
            self._index += 1
            self.next = self._tokens[self._index]
        return token

    def peek(self, ahead: int) -> Token:
        return self._tokens[min(self._index + ahead, len(self._tokens) - 1)]

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these keywords or operators."""
        token = self.next
        return token.kind in texts or (token.kind == "keyword" and token.text in texts)

    def eat(self, text: str) -> bool:
        if self.at(text):
            self.advance()
            return True
        return False

    def expect(self, text: str) -> Token:
        if not self.at(text):
            self.fail_expected(f"`{text}`")
        return self.advance()

    def span(self, token: Token) -> Span:
        return Span(self._source, token.start, token.end)

    def span_from(self, start: Span) -> Span:
        """From `start` to the end of the token read last."""
        return Span(self._source, start.start, self._tokens[max(self._index - 1, 0)].end)

    def fail_expected(self, wanted: str) -> NoReturn:
        token = self.next
        found = {"end": "end of file", "keyword": f"keyword `{token.text}`"}.get(token.kind, f"`{token.text[:60]}`")
        help = None
        if token.kind == "_":
            help = "names are kebab-case: words are joined by `-`"
        elif token.kind == "keyword" and "identifier" in wanted:
            help = f"write `%{token.text}` to use a keyword as a name"
        elif token.kind == "id" and (near := near_name(token.text, re.findall(r"`([a-z]+)`", wanted))):
            help = near
        raise WitError(f"expected {wanted}, found {found}", self.span(token), help)

    def comma_list(self, close: str, item: Callable[[], T]) -> tuple[T, ...]:
        """Items up to `close`, which is read too; a comma may follow the last."""
        items: list[T] = []
        while not self.eat(close):
            items.append(item())
            if not self.eat(","):
                if not self.at(close):
                    self.fail_expected(f"`,` or `{close}`")
                self.advance()
                break
        return tuple(items)

    # ---- names ----

    def ident(self) -> ast.Ident:
        token = self.next
        if token.kind != "id":
            self.fail_expected("an identifier")
        self.advance()
        span = self.span(token)
        if not is_kebab(token.text):
            raise WitError(
                f"`{token.text}` is not in kebab case",
                span,
                "labels are words joined by `-`, each all lower or all upper case, the first beginning with a letter",
            )
        return ast.Ident(token.text, span, span.text.startswith("%"))

    def package_label(self) -> str:
        ident = self.ident()
        if not is_package_label(ident.name):
            raise WitError(f"`{ident.name}` must not have capitals: it names a namespace or package", ident.span)
        return ident.name

    def version(self) -> str:
        token = self.next
        if token.kind != "version" or not is_semver(token.text):
            self.fail_expected("a semantic version such as 1.2.3")
        return self.advance().text

    def package_name(self) -> ast.PackageName:
        start = self.span(self.next)
        spaces = [self.package_label()]
        while self.eat(":") or len(spaces) < 2:
            if len(spaces) < 2 and self._tokens[self._index - 1].kind != ":":
                self.fail_expected("`:` and the name of the package")
            spaces.append(self.package_label())
        names = [spaces.pop()]
        while self.eat("/"):
            names.append(self.package_label())
        version = self.version() if self.eat("@") else None
        return ast.PackageName(":".join(spaces), "/".join(names), version, self.span_from(start))

    def use_path(self) -> ast.UsePath:
        first = self.ident()
        if not self.at(":", "/"):
            return ast.UsePath(None, first, first.span)
        words = [first]
        while self.eat(":"):
            words.append(self.ident())
        if len(words) == 1:
            self.fail_expected("`:` and a package's name before `/`")
        if not self.at("/"):
            self.fail_expected("`/` and the name of an interface or world (a package alone is not enough)")
        spaces, names = words[:-1], words[-1:]
        while self.eat("/"):
            names.append(self.ident())
        name = names.pop()
        version = self.version() if self.eat("@") else None
        for label in spaces + names:
            if not is_package_label(label.name):
                raise WitError(f"`{label.name}` must not have capitals: it names a namespace or package", label.span)
        span = self.span_from(first.span)
        package = ast.PackageName(":".join(i.name for i in spaces), "/".join(i.name for i in names), version, span)
        return ast.UsePath(package, name, span)

    # ---- attributes ----

    def attributes(self) -> tuple[ast.Attributes, str | None]:
        """The `@…( )` in front of an item, and its doc comment (which may stand before or between them)."""
        docs = [self.next.docs] if self.next.docs else []
        values: dict[str, str] = {}
        start = self.span(self.next)
        while self.at("@"):
            self.advance()
            token = self.next
            if token.kind != "id" or token.text not in _ATTRIBUTES:
                self.fail_expected("an attribute: `since`, `unstable`, `deprecated` or `external-id`")
            self.advance()
            key = token.text
            if key in values:
                raise WitError(f"`@{key}` is given twice", self.span(token))
            self.expect("(")
            values[key] = _ATTRIBUTES[key](self)
            self.expect(")")
            if self.next.docs:
                docs.append(self.next.docs)
        text = "\n".join(docs) or None
        if not values:
            return _NO_ATTRIBUTES, text
        span = self.span_from(start)
        if "since" in values and "unstable" in values:
            raise WitError("`@since` and `@unstable` cannot be used together", span)
        if "deprecated" in values and not ("since" in values or "unstable" in values):
            raise WitError("`@deprecated` must be paired with `@since` or `@unstable`", span)
        fields = {key.replace("-", "_"): value for key, value in values.items()}
        return ast.Attributes(**fields, span=span), text

    def version_field(self) -> str:
        self.field_name("version")
        return self.version()

    def feature_field(self) -> str:
        self.field_name("feature")
        return self.ident().name

    def field_name(self, name: str) -> None:
        if self.next.kind != "id" or self.next.text != name:
            self.fail_expected(f"`{name}`")
        self.advance()
        self.expect("=")

    def string(self) -> str:
        """A string literal, with the escapes of the core text format's `name`."""
        token = self.next
        if token.kind != "string":
            self.fail_expected("a string")
        self.advance()
        body, out, position = token.text[1:-1], bytearray(), 0
        for match in re.finditer(r"\\", body):
            if match.start() < position:
                continue
            out += body[position : match.start()].encode()
            escape = _ESCAPE.match(body, match.start())
            code = int(escape["code"].replace("_", "")[-9:] or "0", 16) if escape and escape["code"] else 0
            if escape is None or code > 0x10FFFF or 0xD800 <= code < 0xE000:
                start = token.start + 1 + match.start()
                raise WitError("invalid escape in string", Span(self._source, start, start + 2))
            if escape["code"]:
                out += chr(code).encode()
            else:
                out += bytes.fromhex(escape["byte"]) if escape["byte"] else _LETTERS[escape["letter"]]
            position = escape.end()
        out += body[position:].encode()
        try:
            return out.decode()
        except UnicodeDecodeError:
            raise WitError("string is not valid UTF-8", self.span(token)) from None

    def no_external_id(self, attributes: ast.Attributes, what: str) -> ast.Attributes:
        if attributes.external_id is not None:
            raise WitError(f"`@external-id` cannot be given to {what}", attributes.span)
        return attributes

    # ---- files ----

    def file(self) -> ast.File:
        package = docs = None
        start = self._index
        if self.at("package"):
            docs = self.next.docs
            self.advance()
            package = self.package_name()
            if self.at("{"):  # a nested package after all
                package = docs = None
                self._index = start
                self.next = self._tokens[start]
            else:
                self.expect(";")
        items: list[ast.TopUse | ast.Interface | ast.World] = []
        nested: list[ast.PackageBlock] = []
        while self.next.kind != "end":
            if self.at("package"):
                nested.append(self.nested_package())
            else:
                items.append(self.package_item("`package`, `use`, `interface` or `world`"))
        return ast.File(self._source, ast.PackageBlock(package, tuple(items), docs), tuple(nested))

    def nested_package(self) -> ast.PackageBlock:
        docs = self.advance().docs
        package = self.package_name()
        if self.at(";"):
            raise WitError("the file's own `package …;` must come first in the file", package.span)
        self.expect("{")
        items: list[ast.TopUse | ast.Interface | ast.World] = []
        while not self.eat("}"):
            items.append(self.package_item("`use`, `interface`, `world` or `}`"))
        return ast.PackageBlock(package, tuple(items), docs)

    def package_item(self, wanted: str) -> ast.TopUse | ast.Interface | ast.World:
        attributes, docs = self.attributes()
        self.no_external_id(attributes, "this item")
        if self.eat("use"):
            return self.top_use()
        if self.at("interface"):
            start = self.span(self.advance())
            name = self.ident()
            return ast.Interface(name, self.interface_items(), attributes, docs, self.span_from(start))
        if self.eat("world"):
            name = self.ident()
            self.expect("{")
            items: list[ast.WorldItem] = []
            while not self.eat("}"):
                items.append(self.world_item())
            return ast.World(name, tuple(items), attributes, docs)
        self.fail_expected(wanted)

    def top_use(self) -> ast.TopUse:
        path = self.use_path()
        alias = self.ident() if self.eat("as") else None
        self.expect(";")
        return ast.TopUse(path, alias)

    # ---- interfaces and worlds ----

    def interface_items(self) -> tuple[ast.InterfaceItem, ...]:
        self.expect("{")
        items: list[ast.InterfaceItem] = []
        while not self.eat("}"):
            attributes, docs = self.attributes()
            if self.at("use"):
                items.append(self.use(attributes, docs))
            elif self.next.kind == "keyword" and self.next.text in _TYPE_ITEMS:
                items.append(self.type_item(attributes, docs))
            elif self.next.kind == "id":
                name = self.ident()
                self.expect(":")
                func = self.func()
                self.expect(";")
                items.append(ast.FuncItem(name, "", func, attributes, docs))
            else:
                self.fail_expected("`use`, a type, a function's name (an identifier) or `}`")
        return tuple(items)

    def world_item(self) -> ast.WorldItem:
        attributes, docs = self.attributes()
        if self.at("import", "export"):
            return self.extern(attributes, docs)
        if self.at("use"):
            return self.use(attributes, docs)
        if self.eat("include"):
            return self.include(self.no_external_id(attributes, "`include`"), docs)
        if self.next.kind == "keyword" and self.next.text in _TYPE_ITEMS:
            return self.type_item(attributes, docs)
        self.fail_expected("`import`, `export`, `use`, `include`, a type or `}`")

    def extern(self, attributes: ast.Attributes, docs: str | None) -> ast.Extern:
        token = self.advance()
        start = self.span(token)
        name: ast.Ident | None = None
        what: ast.Func | ast.Interface | ast.UsePath
        after = self.peek(2)
        if self.peek(1).kind == ":" and (
            (after.kind == "keyword" and after.text in ("func", "async", "interface"))
            or not (self.next.end == self.peek(1).start and self.peek(1).end == after.start)
        ):
            name = self.ident()
            self.expect(":")
        if name is not None and self.at("interface"):
            inner = self.span(self.advance())
            items = self.interface_items()
            what = ast.Interface(None, items, _NO_ATTRIBUTES, None, self.span_from(inner))
        elif name is not None and self.at("func", "async"):
            what = self.func()
            self.expect(";")
        else:
            what = self.use_path()
            self.expect(";")
            if name is None:
                self.no_external_id(attributes, f"an {token.text} without a plain name")
        return ast.Extern(token.text, name, what, attributes, docs, self.span_from(start))

    def use(self, attributes: ast.Attributes, docs: str | None) -> ast.Use:
        self.no_external_id(attributes, "`use`")
        self.advance()
        path = self.use_path()
        self.expect(".")
        self.expect("{")
        if self.at("}"):
            self.fail_expected("an identifier")
        names = self.comma_list("}", self.renamed)
        self.expect(";")
        return ast.Use(path, names, attributes, docs)

    def renamed(self) -> tuple[ast.Ident, ast.Ident | None]:
        name = self.ident()
        return name, self.ident() if self.eat("as") else None

    def include(self, attributes: ast.Attributes, docs: str | None) -> ast.Include:
        path = self.use_path()
        names: tuple[tuple[ast.Ident, ast.Ident], ...] = ()
        if self.eat("with"):
            self.expect("{")
            names = self.comma_list("}", self.include_name)
            self.eat(";")  # WIT.md's own examples close `with { }` without one
        else:
            self.expect(";")
        return ast.Include(path, names, attributes, docs)

    def include_name(self) -> tuple[ast.Ident, ast.Ident]:
        name = self.ident()
        self.expect("as")
        return name, self.ident()

    # ---- functions and named types ----

    def func(self) -> ast.Func:
        start = self.span(self.next)
        is_async = self.eat("async")
        self.expect("func")
        params, result = self.signature()
        return ast.Func(params, result, is_async, self.span_from(start))

    def signature(self) -> tuple[tuple[tuple[ast.Ident, ast.Type], ...], ast.Type | None]:
        self.expect("(")
        params = self.comma_list(")", self.param)
        return params, self.type() if self.eat("->") else None

    def param(self) -> tuple[ast.Ident, ast.Type]:
        name = self.ident()
        self.expect(":")
        return name, self.type()

    def type_item(self, attributes: ast.Attributes, docs: str | None) -> ast.TypeItem:
        kind = self.advance().text
        name = self.ident()
        if kind == "type":
            self.expect("=")
            alias = self.type()
            self.expect(";")
            return ast.TypeItem(name, kind, attributes, docs, alias=alias)
        if kind == "resource":
            functions: list[ast.FuncItem] = []
            if not self.eat(";"):
                self.expect("{")
                while not self.eat("}"):
                    functions.append(self.resource_function(name))
            return ast.TypeItem(name, kind, attributes, docs, functions=tuple(functions))
        typed = _FIELD_KINDS[kind]
        self.expect("{")
        fields = self.comma_list("}", lambda: self.field(typed))
        if not fields:
            raise WitError(f"`{kind}` must have at least one {_FIELD_NOUNS[kind]}", name.span)
        return ast.TypeItem(name, kind, attributes, docs, fields=fields)

    def field(self, typed: bool | None) -> ast.Field:
        """A field with its type after `:` (True), a case with an optional one in `( )` (None), or a name (False)."""
        docs = self.next.docs
        name = self.ident()
        type: ast.Type | None = None
        if typed:
            self.expect(":")
            type = self.type()
        elif typed is None and self.eat("("):
            type = self.type()
            self.expect(")")
        return ast.Field(name, type, docs)

    def resource_function(self, resource: ast.Ident) -> ast.FuncItem:
        attributes, docs = self.attributes()
        if self.at("constructor"):
            start = self.span(self.advance())
            params, result = self.signature()
            self.expect(";")
            func = ast.Func(params, result, False, self.span_from(start))
            name = ast.Ident(resource.name, start)
            return ast.FuncItem(name, "constructor", func, attributes, docs)
        if self.next.kind != "id":
            self.fail_expected("`constructor`, a method's name (an identifier) or `}`")
        name = self.ident()
        self.expect(":")
        kind = "static" if self.eat("static") else "method"
        func = self.func()
        self.expect(";")
        return ast.FuncItem(name, kind, func, attributes, docs)

    # ---- types ----

    def type(self) -> ast.Type:
        self._depth += 1
        if self._depth > MAX_TYPE_DEPTH:
            raise WitError(f"type nests deeper than {MAX_TYPE_DEPTH} levels", self.span(self.next))
        type = self.type_here()
        self._depth -= 1
        return type

    def type_here(self) -> ast.Type:
        token = self.next
        start = self.span(token)
        if token.kind == "id":
            name = self.ident()
            return ast.Type("name", start, name=name)
        if token.kind != "keyword":
            self.fail_expected("a type (a keyword such as `u32` or an identifier)")
        kind = token.text
        if kind in _PRIMITIVES:
            self.advance()
            return ast.Type(kind, start)
        if kind in ("borrow", "own"):
            self.advance()
            self.expect("<")
            name = self.ident()
            self.expect(">")
            return ast.Type(kind, self.span_from(start), name=name)
        if kind == "list":
            return self.list_type(start)
        if kind == "result":
            return self.result_type(start)
        if kind not in _ARGUMENTS:
            self.fail_expected("a type (a keyword such as `u32` or an identifier)")
        self.advance()
        least, most = _ARGUMENTS[kind]
        if not self.at("<") and least == 0:
            return ast.Type(kind, start)
        self.expect("<")
        args = self.comma_list(">", self.type)
        span = self.span_from(start)
        if len(args) < max(least, 1) or (most is not None and len(args) > most):
            wanted = "at least 1 type argument" if most is None else f"{most} type argument{'s' if most > 1 else ''}"
            raise WitError(f"`{kind}` takes {wanted}, found {len(args)}", span)
        if kind == "map" and (key := args[0]).kind not in _MAP_KEYS:
            raise WitError("the key of a map must be a `bool`, integer, `char` or `string` type", key.span)
        return ast.Type(kind, span, args)

    def list_type(self, start: Span) -> ast.Type:
        self.advance()
        self.expect("<")
        element = self.type()
        length = None
        if self.eat(","):
            token = self.next
            if token.kind != "integer":
                self.fail_expected("the length of the list, a positive integer")
            self.advance()
            if token.text.startswith("0") or len(token.text) > 10 or (length := int(token.text)) >= 1 << 32:
                raise WitError("the length of a list is an integer from 1 to 4294967295", self.span(token))
        self.expect(">")
        return ast.Type("list", self.span_from(start), (element,), length=length)

    def result_type(self, start: Span) -> ast.Type:
        self.advance()
        if not self.eat("<"):
            return ast.Type("result", start, (None, None))
        ok: ast.Type | None = None
        if self.eat("_"):
            self.expect(",")
            error: ast.Type | None = self.type()
        else:
            ok = self.type()
            error = self.type() if self.eat(",") else None
        self.expect(">")
        return ast.Type("result", self.span_from(start), (ok, error))


_NO_ATTRIBUTES = ast.Attributes()
_ATTRIBUTES: dict[str, Callable[[_Parser], str]] = {
    "since": _Parser.version_field,
    "unstable": _Parser.feature_field,
    "deprecated": _Parser.version_field,
    "external-id": _Parser.string,
}
_TYPE_ITEMS = frozenset({*_FIELD_KINDS, "type", "resource"})
_FIELD_NOUNS = {"record": "field", "variant": "case", "enum": "case", "flags": "flag"}
assert _TYPE_ITEMS < KEYWORDS
