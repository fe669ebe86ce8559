"""The OpenAPI document as a page's template wants it: addresses by group, each option in a few words."""

import html
import re
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from console import errors

_GROUPS = {"analyses": "Analyses", "results": "Results", "service": "Service"}
_WORDS = {"number": "number", "integer": "whole number", "boolean": "true or false", "string": "text", "array": "list"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A parameter of an address."""

    name: str
    place: str
    """query, header or path."""
    kind: str
    """What it may be, with its limits and default."""
    about: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method of an address."""

    method: str
    path: str
    anchor: str
    summary: str
    about: tuple[Markup, ...]
    options: tuple[Option, ...]
    answers: tuple[str, ...]
    """Statuses."""


def operations(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """By the group's title, in the document's order."""
    groups: dict[str, list[Operation]] = {title: [] for title in _GROUPS.values()}
    for path, methods in document["paths"].items():
        for method, facts in methods.items():
            title = _GROUPS[facts["tags"][0]]
            groups[title].append(
                Operation(
                    method=method.upper(),
                    path=path,
                    anchor=facts["operationId"],
                    summary=facts["summary"],
                    about=tuple(_marked(part) for part in facts.get("description", "").split("\n\n") if part),
                    options=tuple(_option(item) for item in facts.get("parameters", ())),
                    answers=tuple(sorted(facts["responses"])),
                )
            )
    return groups


def problems() -> list[tuple[int, str, str]]:
    """Status, code and title of every refusal, in order of status."""
    return sorted({(kind.status, kind.code, kind.title) for kind in errors.ConsoleError.__subclasses__()})


def _option(item: dict[str, Any]) -> Option:
    return Option(
        name=item["name"], place=item["in"], kind=_kind(item.get("schema", {})), about=_marked(item.get("description", ""))
    )


def _kind(schema: dict[str, Any]) -> str:
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            schema = {**choice, "default": schema.get("default")}
            break
    words = ", ".join(map(str, schema["enum"])) if "enum" in schema else _WORDS.get(schema.get("type", ""), "")
    low, high, above = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum")
    if low is not None:
        words += f", {low} to {high}" if high is not None else f", {low} or more"
    elif above is not None:
        words += f", above {above}"
    if (longest := schema.get("maxLength")) is not None:
        words += f", at most {longest} characters"
    default = schema.get("default")
    return words + (
        f"; {str(default).lower() if isinstance(default, bool) else default} by default" if default is not None else ""
    )


def _marked(text: str) -> Markup:
    """Code between backticks, as Markdown has it; nothing else of Markdown is used."""
    escaped = html.escape(text)
    return Markup(re.sub(r"(`+)(.+?)\1", r'<code class="mono">\2</code>', escaped))  # escaped above
