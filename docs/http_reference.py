"""The HTTP interface as text, from its OpenAPI document: a page that needs no script and is found by the search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PLACE = "<!-- operations -->"
"""Where the page has them."""

_SAME = ("400", "413", "429", "500", "503")
"""Refusals of every call."""
_PREFIX = re.compile(r"aihwjax__server__faces__(wire__routes__)?(schemas__)?")


def markdown(document: Mapping[str, Any]) -> str:
    """Return what each call does and answers, and what goes over the wire.

    Args:
        document: The OpenAPI document.
    """
    lines: list[str] = []
    operations = [(path, method, found) for path, each in document["paths"].items() for method, found in each.items()]
    for tag in dict.fromkeys(operation["tags"][0] for _, _, operation in operations):
        lines += [f"## {_TITLES.get(tag, tag)}", ""]
        for path, method, operation in operations:
            if operation["tags"][0] == tag:
                lines += _operation(method, path, operation)
    shared = next(operation["responses"] for _, _, operation in operations)
    lines += ["## Refusals of every call", "", "| status | |", "|---|---|"]
    lines += [f"| {status} | {shared[status]['description']} |" for status in _SAME]
    lines += ["", "## What goes over the wire", ""]
    for name, schema in sorted(document["components"]["schemas"].items(), key=lambda entry: _name(entry[0])):
        lines += _schema(name, schema)
    return "\n".join(lines)


_TITLES = {"api": "Calls", "files": "Files", "wire": "Calls of the reference's client"}


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`"
    yield ""
    yield operation["description"].replace("``", "`")
    yield ""
    rows = [
        (f"`{entry['name']}`", f"{_kind(entry['schema'])}, in the {entry['in']}", entry["description"])
        for entry in operation.get("parameters", [])
    ]
    rows += [("body", _content(operation["requestBody"]), "")] if "requestBody" in operation else []
    yield from _table(("parameter", "type", ""), rows)
    answers = [
        (status, _content(answer), answer["description"])
        for status, answer in sorted(operation["responses"].items())
        if status not in _SAME
    ]
    yield from _table(("status", "answer", ""), answers)


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {_name(name)}"
    yield ""
    yield schema["description"]
    yield ""
    if "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"])
        yield ""
    rows = [(f"`{key}`", _kind(entry), entry.get("description", "")) for key, entry in _properties(schema)]
    yield from _table(("field", "type", ""), rows)


def _properties(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(schema.get("properties", {}).items())


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        yield from ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        yield ""


def _content(part: Mapping[str, Any]) -> str:
    found = part.get("content", {})
    kinds = [_kind(media["schema"]) if name == "application/json" else f"`{name}`" for name, media in found.items()]
    return " or ".join(kinds)


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = _name(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("format", schema.get("type", "anything")))


def _name(schema: str) -> str:
    """Return the name of a schema; that of the reference's client is told apart where both interfaces have one."""
    ours = _PREFIX.sub("", schema)
    return f"Wire{ours}" if "__wire__" in schema else ours
