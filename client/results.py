"""Verdicts and errors of several files as one JSON document (``results.schema.json``)."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.verdict import SCHEMA_VERSION, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A file that could not be evaluated because of an error."""

    code: str
    """Stable name of the error, such as ``undecodable`` or ``unreachable``."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one file: exactly one of ``verdict`` and ``failure`` is set.

    Raises:
        ValueError: Both or neither are.
    """

    path: str
    verdict: Verdict | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if (self.verdict is None) == (self.failure is None):
            raise ValueError(f"the result of {self.path!r} must have either a verdict or a failure")

    @property
    def label(self) -> str:
        """The verdict's label, or ERROR."""
        return self.verdict.label if self.verdict else "ERROR"


def to_document(results: Sequence[Result]) -> dict[str, Any]:
    """The JSON form of all results, with counts by label."""
    counts = Counter(result.label for result in results)
    return {
        "schema_version": SCHEMA_VERSION,
        "results": [_entry(result) for result in results],
        "counts": {label: counts[label] for label in ("FAKE", "REAL", "UNCERTAIN", "NOT_EVALUATED", "ERROR")},
    }


def results_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``to_document``."""
    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text("utf-8"))
    assert isinstance(schema, dict)
    return schema


def _entry(result: Result) -> dict[str, Any]:
    if result.verdict is not None:
        return {"path": result.path, "verdict": result.verdict.to_dict()}
    assert result.failure is not None
    return {"path": result.path, "error": {"code": result.failure.code, "message": result.failure.message}}
