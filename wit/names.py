"""Names of the component model: labels, plain names, interface names, versions, and what they are called in Python.

Grammar and uniqueness follow Explainer.md, "Import and Export Definitions" and "Name Uniqueness"; versions follow
"Canonical Interface Name". Python names follow what componentize-py does on the guest side: `kebab-case` becomes
`snake_case`, `UpperCamelCase` or `SHOUTY_CASE`, and a name that is a Python keyword takes a trailing underscore.
"""

from __future__ import annotations

import functools
import keyword
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import semver

    from wit.errors import WitError

__all__ = [
    "InterfaceId",
    "PlainName",
    "canonical_version_key",
    "escape_keyword",
    "is_canonical_version",
    "is_interface_name",
    "is_kebab",
    "is_package_label",
    "is_semver",
    "kebab_to_camel",
    "kebab_to_shouty",
    "kebab_to_snake",
    "parse_interface_id",
    "parse_plain_name",
    "parse_version",
    "split_version",
    "strong_key",
    "version_sort_key",
]


def _error(message: str) -> WitError:
    from wit.errors import WitError  # most who want names never see one

    return WitError(message)


# A first fragment begins with a letter; every fragment is all lower or all upper case.
_FIRST = r"(?:[a-z][0-9a-z]*|[A-Z][0-9A-Z]*)"
_LABEL = rf"{_FIRST}(?:-(?:[0-9a-z]+|[0-9A-Z]+))*"
_WORDS = r"[a-z][0-9a-z]*(?:-[0-9a-z]+)*"

_is_label = re.compile(_LABEL).fullmatch
_is_words = re.compile(_WORDS).fullmatch


def _is_number(text: str) -> bool:
    """Digits without leading zeros."""
    return text.isascii() and text.isdecimal() and (text == "0" or text[0] != "0")


# More digits than this is no version anybody publishes, and Python refuses to convert numbers of some thousand digits.
_MAX_VERSION_LENGTH = 256


def is_kebab(label: str) -> bool:
    """Whether `label` is a `label` of the grammar: kebab-case, each fragment a word or an ACRONYM."""
    return _is_label(label) is not None


def is_package_label(label: str) -> bool:
    """Whether `label` may name a namespace or a package: kebab-case without capitals."""
    return _is_words(label) is not None


# ---- Python names ------------------------------------------------------------------------------------------------


def escape_keyword(name: str) -> str:
    """`name`, with a trailing underscore if it is a keyword of Python (soft keywords are fine as they are)."""
    return f"{name}_" if keyword.iskeyword(name) else name


@functools.lru_cache(maxsize=4096)
def kebab_to_snake(label: str) -> str:
    """`get-JSON-2` → `get_json_2`: functions, parameters, fields, modules."""
    return escape_keyword(label.lower().replace("-", "_"))


@functools.lru_cache(maxsize=4096)
def kebab_to_camel(label: str) -> str:
    """`get-JSON-2` → `GetJson2`: types, classes of resources, cases of variants."""
    return escape_keyword("".join(part.capitalize() for part in label.split("-")))


@functools.lru_cache(maxsize=4096)
def kebab_to_shouty(label: str) -> str:
    """`ultra-violet` → `ULTRA_VIOLET`: members of enums and flags."""
    return label.upper().replace("-", "_")


# ---- Names of imports and exports --------------------------------------------------------------------------------


class PlainName(NamedTuple):
    """A plain name taken apart. `kind` is `""`, `"constructor"`, `"method"` or `"static"`.

    `resource` is the resource's label for the three annotated kinds, else None; `label` is the function's own label
    (for a constructor: the resource's).
    """

    kind: str
    resource: str | None
    label: str


def parse_plain_name(name: str) -> PlainName:
    """Take a plain name apart: `[method]blob.read` → `PlainName("method", "blob", "read")`.

    Raises `WitError` if it is no `plainname` of the grammar.
    """
    kind, _, rest = name[1:].partition("]") if name.startswith("[") else ("", "", name)
    first, dot, second = rest.partition(".")
    if is_kebab(first) and (not dot or is_kebab(second)):
        if kind in ("method", "static"):
            if dot:
                return PlainName(kind, first, second)
        elif not dot and (kind == "constructor" or not name.startswith("[")):
            return PlainName(kind, first if kind else None, first)
    raise _error(
        f"`{name}` is not in kebab case" if not name.startswith("[") else f"`{name}` is not a valid plain name"
    )


class InterfaceId(NamedTuple):
    """An interface name taken apart: `wasi:io/streams@0.2.3` → `("wasi", "io", "streams", "0.2.3")`.

    With nested namespaces or packages, `namespace` may hold `:` and `package` may hold `/`.
    """

    namespace: str
    package: str
    interface: str
    version: str | None

    @property
    def package_id(self) -> str:
        """`wasi:io@0.2.3`."""
        return f"{self.namespace}:{self.package}" + ("" if self.version is None else f"@{self.version}")

    def __str__(self) -> str:
        return f"{self.namespace}:{self.package}/{self.interface}" + (
            "" if self.version is None else f"@{self.version}"
        )


@functools.lru_cache(maxsize=1024)
def parse_interface_id(name: str) -> InterfaceId:
    """Take an interface (or world) name apart: `ns:pkg/name` with an optional `@version`.

    The version is a full semantic version or a canonical one (`1`, `0.2`). Raises `WitError` if `name` is not of that
    form.
    """
    path, at, version = name.partition("@")
    head, slash, tail = path.partition("/")
    namespace, colon, package = head.rpartition(":")
    *nested, interface = tail.split("/")
    if (
        not (slash and colon and is_package_label(package) and all(map(is_package_label, namespace.split(":"))))
        or not (is_kebab(interface) and all(map(is_kebab, nested)))
        or (at and (not version or "\n" in version))
    ):
        raise _error(f"`{name}` is not a valid interface name (wanted `namespace:package/interface@version`)")
    if at and not is_canonical_version(version) and not is_semver(version):
        raise _error(f"`{version}` is not a valid semantic version in `{name}`")
    return InterfaceId(namespace, "/".join([package, *nested]), interface, version if at else None)


def is_interface_name(name: str) -> bool:
    """Whether `name` has the form of an interface name rather than of a plain one (validity apart)."""
    return ":" in name and not name.startswith("[")


@functools.lru_cache(maxsize=4096)
def strong_key(name: str) -> str:
    """The key of `name` for strong uniqueness: two names of one scope conflict if and only if their keys are equal."""
    key = name.lower()
    if not key.startswith("[") or key.startswith("[constructor]"):
        return key
    key = key[key.find("]") + 1 :]
    first, dot, second = key.partition(".")
    return first if dot and first == second else key


# ---- Versions ----------------------------------------------------------------------------------------------------


def is_canonical_version(text: str) -> bool:
    """Whether `text` is a canonical version: `1`, `0.2`, `0.0.3` or `0.0.0`."""
    first, *rest = parts = text.split(".")
    if not all(map(_is_number, parts)):
        return False
    # No semver, but what may stand after `@` all the same: up to the first number that is not zero, or three zeros.
    return (
        not rest
        if first != "0"
        else parts[1:] == ["0", "0"] or (len(parts) in (2, 3) and parts[-1] != "0" == parts[-2])
    )


def is_semver(text: str) -> bool:
    """Whether `text` is a valid version of Semantic Versioning 2.0."""
    # The library's pattern lets digits of other scripts and a last newline pass.
    if not text.isascii() or len(text) > _MAX_VERSION_LENGTH or text[-1:] == "\n":
        return False
    parts = text.split(".")
    return (len(parts) == 3 and all(map(_is_number, parts))) or _semver().is_valid(text)


def _semver() -> type[semver.Version]:
    """The library's class, loaded when it is first needed: it brings its own command line's modules with it."""
    from semver import Version

    return Version


def parse_version(text: str) -> semver.Version:
    """The version as a `semver.Version`. Raises `WitError` if it is none."""
    if not is_semver(text):
        raise _error(f"`{text[:80]}` is not a valid semantic version")
    return _semver().parse(text)


@functools.lru_cache(maxsize=1024)
def split_version(text: str) -> tuple[str, str]:
    """Split into canonical version and suffix: `1.2.3` → `("1", ".2.3")`, `0.2.6-rc.1` → `("0.2", ".6-rc.1")`.

    A version that is canonical already has an empty suffix. Raises `WitError` if it is no version.
    """
    if is_canonical_version(text):
        return text, ""
    if not is_semver(text):
        raise _error(f"`{text[:80]}` is not a valid semantic version")
    major, minor, patch = text.partition("+")[0].partition("-")[0].split(".")
    if major != "0":
        canonical = major
    else:
        canonical = f"0.{minor}" if minor != "0" else f"0.0.{patch}"
    return canonical, text[len(canonical) :]


def canonical_version_key(text: str | None) -> str | None:
    """What two compatible versions have in common: `0.2.1` and `0.2.6` → `0.2`; no version → None.

    An import matches an export of the same interface if their keys are equal (their types are checked apart).
    """
    return None if text is None else split_version(text)[0]


def version_sort_key(text: str | None) -> tuple[Any, ...]:
    """A key that sorts versions by semver precedence; no version comes first, a canonical version at its lowest."""
    if text is None:
        return ()
    if is_canonical_version(text):
        text += ".0" * (2 - text.count("."))
    elif not is_semver(text):
        raise _error(f"`{text[:80]}` is not a valid semantic version")
    release, _, pre = text.partition("+")[0].partition("-")
    # A release comes after its pre-releases; numbers come before words, and fewer identifiers before more.
    words = [(0, int(word)) if word.isdigit() else (1, word) for word in pre.split(".")] if pre else []
    return (*map(int, release.split(".")), not pre, *words)
