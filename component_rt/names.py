"""Names of component imports and exports: form, and the annotations that say something about types.

Grammar: Explainer.md, "Import and Export Definitions". The pieces (labels, versions, strong uniqueness) are
`wit.names`; here they become errors in the wording of the suites, and features decide about nested and canonical names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from component_rt.features import Features
from wit.errors import WitError
from wit.names import is_canonical_version, is_kebab, is_package_label, is_semver, split_version, strong_key

__all__ = [
    "ExternLabel",
    "InvalidName",
    "check_implements",
    "check_label",
    "check_version_suffix",
    "parse_extern_name",
    "strong_key",
]


class InvalidName(ValueError):
    """A name that breaks the grammar; the message says how."""


class ExternLabel(NamedTuple):
    """A name taken apart. `kind`: "label", "constructor", "method", "static" or "interface".

    `resource` is the resource of the three annotated kinds, `version` what follows `@` in an interface name.
    """

    kind: str
    resource: str | None = None
    version: str | None = None


def _kebab(label: str) -> None:
    if not is_kebab(label):
        raise InvalidName(f"`{label}` is not in kebab case")


def check_label(label: str, what: str) -> None:
    """A field, case, flag, enum or parameter name (`what` says which). Raises `InvalidName`."""
    if not label:
        raise InvalidName(f"{what} name cannot be empty")
    if not is_kebab(label):
        raise InvalidName(f"{what} name `{label}` is not in kebab case")


def parse_extern_name(name: str, features: Features) -> ExternLabel:
    """Take the name of an import or export apart. Raises `InvalidName`."""
    if name.startswith("["):
        kind, closed, rest = name[1:].partition("]")
        if kind == "constructor" and closed:
            _kebab(rest)
            return ExternLabel("constructor", rest)
        if kind in ("method", "static") and closed:
            resource, dot, label = rest.partition(".")
            if not dot:
                raise InvalidName("failed to find `.` character")
            _kebab(resource)
            _kebab(label)
            return ExternLabel(kind, resource)
        raise InvalidName(f"`{name}` is not in kebab case")
    if ":" not in name:
        _kebab(name)
        return ExternLabel("label")
    return _interface(name, features)


def _interface(name: str, features: Features) -> ExternLabel:
    path, at, version = name.partition("@")
    head, slash, tail = path.partition("/")
    namespaces = head.split(":")
    if len(namespaces) > 2 and not features.nested_names:
        _words(namespaces[0])
        _words(namespaces[1])
        raise InvalidName("expected `/` after package name")
    for words in namespaces:
        _words(words)
    if not slash:
        raise InvalidName("expected `/` after package name")
    projections = tail.split("/")
    if len(projections) > 1 and not features.nested_names:
        _kebab(projections[0])
        raise InvalidName(f"trailing characters found: `/{'/'.join(projections[1:])}`")
    for label in projections:
        _kebab(label)
    if at:
        _version(version, features)
    return ExternLabel("interface", None, version if at else None)


def _words(words: str) -> None:
    _kebab(words)
    if not is_package_label(words):
        capital = next(c for c in words if c.isupper())
        raise InvalidName(f"character `{capital}` is not lowercase in package name/namespace")


def _version(version: str, features: Features) -> None:
    if is_semver(version) or (features.canonical_names and is_canonical_version(version)):
        return
    raise InvalidName(f"`{version}` is not a valid semver: {_semver_fault(version)}")


def _semver_fault(version: str) -> str:
    """Why `version` is no semantic version, for the message."""
    if not version:
        return "empty string, expected a semver version"
    rest = version
    for part in ("major", "minor", "patch"):
        digits = re.match("[0-9]*", rest)[0]  # type: ignore[index]  # the pattern matches the empty string
        if not digits:
            return _unexpected(rest, part)
        if len(digits) > 1 and digits[0] == "0":
            return f"invalid leading zero in {part} version number"
        rest = rest[len(digits) :]
        if part != "patch":
            if not rest.startswith("."):
                return _unexpected(rest, part)
            rest = rest[1:]
    if rest and rest[0] not in "+-":
        return _unexpected(rest, "patch")
    segments = re.split(r"[.+-]", rest[1:]) if rest else []
    return "empty identifier segment in pre-release or build metadata" if not all(segments) else "invalid identifier"


def _unexpected(rest: str, part: str) -> str:
    if not rest:
        return f"unexpected end of input while parsing {part} version number"
    return f"unexpected character '{rest[0]}' while parsing {part} version number"


def check_implements(name: str, label: ExternLabel, implements: str, sort: str, features: Features) -> None:
    """The rules of the `implements` attribute on an extern `name` of kind `sort`. Raises `InvalidName`."""
    try:
        target = parse_extern_name(implements, features)
    except InvalidName as error:
        raise InvalidName(f"`implements` value `{implements}` is not a valid name: {error}") from None
    if target.kind != "interface":
        raise InvalidName(f"`implements` value `{implements}` must be an interface name")
    if label.kind != "label":
        raise InvalidName(f"name `{name}` is not valid with `implements`")
    if sort != "instance":
        raise InvalidName("only instances can have an `implements` attribute")


def check_version_suffix(name: str, label: ExternLabel, suffix: str) -> None:
    """The rules of the `versionsuffix` attribute. Raises `InvalidName`."""
    if label.version is None or not is_canonical_version(label.version):
        raise InvalidName(f"name `{name}` is not valid with `versionsuffix`: it has no canonical version")
    whole = label.version + suffix
    try:
        canonical = split_version(whole)[0] if is_semver(whole) else None
    except WitError:
        canonical = None
    if canonical != label.version:
        raise InvalidName(f"`{whole}` is not a valid semver with canonical version `{label.version}`")
