"""The result of one run: one JSON file with settings, machine and raw samples, from which everything else is made.

``record.schema.json`` describes the file; its version changes when a reader of the old one would misread the new one.
"""

import json
import math
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from benchmarks.errors import ForeignRecord, OutputError, RecordError
from benchmarks.machine import machine_facts, versions
from benchmarks.rounds import Candidate
from benchmarks.samples import summarise

SCHEMA = "unmask.bench/1"
Kind = Literal["frames", "load", "soak", "engines", "pipeline"]
State = Literal["complete", "interrupted", "partial"]
"""``interrupted``: a person ended it. ``partial``: something broke, ``reason`` says what. Both keep what was measured."""
Labels = dict[str, str | int | float]


@dataclass(slots=True, kw_only=True)
class Series:
    """Samples of one thing that was measured."""

    name: str
    unit: str
    samples: list[float]
    labels: Labels = field(default_factory=dict)
    """What distinguishes it: path, frames, precision ..."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What was derived from the samples or measured beside them."""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        samples = [round(value, 9) for value in self.samples]
        summary = summarise(samples).to_dict() if samples else None
        return {
            "name": self.name, "unit": self.unit, "labels": self.labels, "figures": self.figures, "summary": summary,
            "samples": samples,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A promise and whether this run kept it."""

    name: str
    value: float
    relation: Literal[">=", "<="]
    limit: float

    @property
    def passed(self) -> bool:
        """True when the value is within the limit."""
        return self.value >= self.limit if self.relation == ">=" else self.value <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "name": self.name, "value": round(self.value, 6), "relation": self.relation, "limit": self.limit,
            "passed": self.passed,
        }  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Record:
    """One run."""

    kind: Kind
    settings: dict[str, Any]
    series: list[Series] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    state: State = "complete"
    reason: str = ""
    command: str = field(default_factory=lambda: shlex.join(["unmask", *sys.argv[1:]]))
    started_at: str = field(default_factory=lambda: _now())
    finished_at: str = ""
    machine: dict[str, Any] = field(default_factory=machine_facts)
    versions: dict[str, str] = field(default_factory=versions)

    def add(self, candidates: Iterable[Candidate], **figures: Any) -> None:
        """Takes over what was measured of each candidate; those without a sample are left out."""
        for candidate in candidates:
            if candidate.samples_s:
                self.series.append(
                    Series(
                        name=candidate.name,
                        unit="s",
                        samples=list(candidate.samples_s),
                        labels=dict(candidate.labels),
                        figures=dict(figures),
                    )
                )

    def find(self, **labels: str | int | float) -> Series | None:
        """The first series that carries these labels."""
        return next((s for s in self.series if all(s.labels.get(key) == value for key, value in labels.items())), None)

    def to_dict(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "state": self.state,
            "reason": self.reason,
            "command": self.command,
            "started_at": self.started_at,
            "finished_at": self.finished_at or _now(),
            "machine": self.machine,
            "versions": self.versions,
            "settings": self.settings,
            "figures": self.figures,
            "checks": [check.to_dict() for check in self.checks],
            "notes": self.notes,
            "series": [series.to_dict() for series in self.series],
        }

    def save(self, path: Path) -> None:
        """Writes the file in one step, so that nobody reads half of it."""
        self.finished_at = self.finished_at or _now()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(_to_text(self.to_dict()))
        draft.replace(path)


def require_writable(path: Path) -> None:
    """Makes the folder of a file that will be written, and tries to write there: better refused now than after ten minutes of measuring.

    Raises:
        OutputError: The file cannot be written.
    """
    trial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); name another file") from error


def load(path: Path) -> Record:
    """Reads a result file.

    Raises:
        RecordError: It cannot be read, was written by a version that this one does not know, or is damaged.
        ForeignRecord: It is JSON of another kind.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read as a result of unmask bench: {error}") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if isinstance(content, dict) and found is None:
        raise ForeignRecord(
            f"{path} is JSON, but no result of unmask bench: it has no schema; name files that `unmask bench` wrote"
        )
    if found != SCHEMA:
        raise RecordError(f"{path} has schema {found!r}; this version reads {SCHEMA!r}; run the benchmark again")
    try:
        series = [
            Series(
                name=item["name"], unit=item["unit"], samples=item["samples"], labels=item["labels"], figures=item["figures"]
            )
            for item in content["series"]
        ]
        checks = [
            Check(name=item["name"], value=item["value"], relation=item["relation"], limit=item["limit"])
            for item in content["checks"]
        ]
        for item in series:
            if not all(isinstance(value, int | float) and math.isfinite(value) for value in item.samples):
                raise RecordError(f"{path} is damaged: {item.name} has a sample that is no number; run the benchmark again")
        plain = """kind settings figures notes state reason command started_at finished_at machine versions""".split()
        return Record(series=series, checks=checks, **{key: content[key] for key in plain})
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path} says it is {SCHEMA!r} but lacks {error}; run the benchmark again") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _to_text(content: dict[str, Any]) -> str:
    """Indented JSON, with each list of samples on one line: git shows what changed, and the file stays short."""
    marks: dict[str, str] = {}
    for number, series in enumerate(content["series"]):
        mark = f"@samples-{number}@"
        marks[f'"{mark}"'] = json.dumps(series["samples"])
        series["samples"] = mark
    text = json.dumps(content, indent=1, ensure_ascii=False)
    for mark, samples in marks.items():
        text = text.replace(mark, samples, 1)
    return text + "\n"
