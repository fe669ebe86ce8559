"""Evaluation as it is served: file -> preprocess -> Triton -> verdict, by ``client.Detector``."""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client import ClientError, Detector
from preprocess import PreprocessError
from training.errors import EvaluationError, PictureError
from training.manifest import Item
from training.metrics import Figures, measure
from training.video_files import variant_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file, asked once."""

    path: str
    label: str
    identity: str
    person: str
    """Data set and the person in whose picture it is: of a swap the first of its identities. Drawn whole for the intervals."""
    dataset: str
    method: str
    compression: str
    variant: str
    frames: int
    """Frames asked for."""
    score: float | None
    """None where it was not evaluated."""
    verdict: str
    reason: str


@dataclass(slots=True)
class ServedEvaluation:
    """All rows, and what they say."""

    model: dict[str, Any]
    profile: str
    threshold: float
    rows: list[Row] = field(default_factory=list)

    def _once(self) -> list[Row]:
        """Each file once: in the first variant, with the first number of frames."""
        first = self.rows[0]
        return [row for row in self.rows if (row.variant, row.frames) == (first.variant, first.frames)]

    def figures(self, rows: Sequence[Row] | None = None) -> Figures | None:
        """Figures of some rows (None: each file once); None where none of them has a score. People are drawn whole."""
        scored = [row for row in (self._once() if rows is None else rows) if row.score is not None]
        if not scored:
            return None
        return measure(
            [int(row.label == "fake") for row in scored], [row.score or 0.0 for row in scored], threshold=self.threshold,
            groups=[row.person for row in scored],
        )  # fmt: skip

    def _part(self, name: str, value: str) -> list[Row]:
        """Rows that have a value; of a method its fakes and, to tell them from, the genuine files of the same data sets.

        Each file counts once, but where variants are compared, or numbers of frames.
        """
        first = self.rows[0]
        rows = {
            "variant": [row for row in self.rows if row.frames == first.frames],
            "frames": [row for row in self.rows if row.variant == first.variant],
        }.get(name, self._once())
        part = [row for row in rows if str(getattr(row, name)) == value]
        if name != "method":
            return part
        datasets = {row.dataset for row in part}
        return part + [row for row in rows if row.label == "real" and row.method != value and row.dataset in datasets]

    def not_evaluated(self) -> dict[str, int]:
        """Reason -> files."""
        return dict(Counter(row.reason for row in self.rows if row.score is None))

    def as_dict(self) -> dict[str, Any]:
        """Plain values: rows, and figures over all, by data set, method, compression, variant and frames."""
        groups: dict[str, dict[str, Any]] = {}
        for name in ("dataset", "method", "compression", "variant", "frames"):
            groups[name] = {}
            for value in sorted({str(getattr(row, name)) for row in self.rows} - {""}):
                part = self._part(name, value)
                figures = self.figures(part)
                verdicts = {
                    label: dict(Counter(row.verdict for row in part if row.label == label)) for label in ("real", "fake")
                }
                groups[name][value] = {"figures": figures.as_dict() if figures else None, "verdicts": verdicts}
        figures = self.figures()
        return {
            "model": self.model, "profile": self.profile, "all": figures.as_dict() if figures else None, "by": groups,
            "not_evaluated": self.not_evaluated(), "rows": [asdict(row) for row in self.rows],
        }  # fmt: skip


def evaluate_served(
    detector: Detector, items: Sequence[Item], *, variants: Sequence[str] = ("original",), frames: Sequence[int] = (32,),
    progress: Callable[[int, int], None] | None = None,
) -> ServedEvaluation:  # fmt: skip
    """Asks a server about each file, in each variant, with each number of frames.

    Errors of single files are rows with a reason, a server too slow or too busy for one included; what stops every file ends the run.

    Raises:
        EvaluationError: No files, or no room to encode one anew.
        ServerError: There is no server, or not the one that was asked for.
    """
    if not items:
        raise EvaluationError("no files to evaluate; check the split that was asked for")
    served = detector.model()
    outcome = ServedEvaluation(
        model=served.info.to_parameters(), profile=f"{served.profile} ({served.precision})", threshold=served.info.threshold
    )
    total = len(items) * len(variants)
    with tempfile.TemporaryDirectory(prefix="unmask-evaluate-") as folder:
        for number, (item, variant) in enumerate(((item, variant) for item in items for variant in variants), 1):
            path = Path(item.path)
            made: Path | None = None
            try:
                path = variant_of(path, variant, Path(folder))
                made = path if variant != "original" else None
            except PictureError as error:
                logger.warning("%s", error)
                outcome.rows += [_row(item, variant, count, None, "ERROR", "undecodable") for count in frames]
                continue
            for count in frames:
                outcome.rows.append(_ask(detector, item, path, variant, count))
            if made is not None:
                made.unlink()
            if progress:
                progress(number, total)
    return outcome


def _ask(detector: Detector, item: Item, path: Path, variant: str, frames: int) -> Row:
    from client.errors import DeadlineExceeded, Overloaded, ServerError, ServerFailed

    try:
        verdict = detector.detect(path, frames=frames)
    except PreprocessError as error:
        return _row(item, variant, frames, None, "ERROR", error.code)
    except (DeadlineExceeded, Overloaded, ServerFailed) as error:
        logger.warning("%s: %s", path.name, error)
        return _row(item, variant, frames, None, "ERROR", error.code)
    except ServerError:
        raise
    except ClientError as error:
        return _row(item, variant, frames, None, "ERROR", error.code)
    return _row(item, variant, frames, verdict.score, verdict.label, verdict.reason or "")


def _row(item: Item, variant: str, frames: int, score: float | None, verdict: str, reason: str) -> Row:
    return Row(
        path=Path(item.path).name, label=item.label, identity="+".join(item.identities), person=f"{item.dataset}/{item.identities[0]}",
        dataset=item.dataset, method=item.method,
        compression=item.compression, variant=variant, frames=frames, score=score, verdict=verdict, reason=reason,
    )  # fmt: skip


def summary(outcome: ServedEvaluation) -> str:
    """One line."""
    figures, missed = outcome.figures(), sum(outcome.not_evaluated().values())
    calls = dict(Counter(f"{row.label} {row.verdict}" for row in outcome.rows))
    auc = (
        f"AUC {figures.auc.value:.3f}"
        + (f" [{figures.auc.low:.3f}, {figures.auc.high:.3f}]" if figures.auc.low is not None else "")
        if figures and figures.auc
        else "one class only, no AUC"
    )
    alarms = f", false alarms {figures.false_alarm_rate.value:.3f}" if figures and figures.false_alarm_rate else ""
    return f"{len(outcome.rows)} answers, {auc}{alarms}, not evaluated {missed}; {calls}"


def write_report(folder: Path, outcomes: dict[str, ServedEvaluation], *, split: str = "") -> Path:
    """Page, data and curves of one or several profiles side by side; returns the page.

    Raises:
        EvaluationError: The folder cannot be written.
    """
    from training.pages import write_evaluation
    from training.plots import evaluation_curves

    content: dict[str, Any] = {}
    plots: dict[str, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        side = {name: outcome.as_dict() for name, outcome in outcomes.items()}
        content["All files, by profile"] = {
            f"{name}, {value['profile']}": value["all"] for name, value in side.items() if value["all"]
        }
        for name, value in side.items():
            for group, parts in value["by"].items():
                known = {part: entry["figures"] for part, entry in parts.items() if entry["figures"]}
                if known:
                    content[f"{name}: by {group}"] = known
            content[f"{name}: verdicts by variant"] = {
                part: entry["verdicts"] for part, entry in value["by"]["variant"].items()
            }
            content[f"{name}: not evaluated, by reason"] = value["not_evaluated"]
            scored = [row for row in outcomes[name].rows if row.score is not None]
            if len({row.label for row in scored}) == 2:
                picture = folder / f"curves_{name.replace(' ', '_')}.png"
                labels, scores = [int(row.label == "fake") for row in scored], [row.score or 0.0 for row in scored]
                plots[f"{name}: curves"] = evaluation_curves(labels, scores, outcomes[name].threshold, picture)
        content["Model"] = next(iter(side.values()))["model"]
        first = next(iter(outcomes.values())).rows[0]
        people = {row.person for outcome in outcomes.values() for row in outcome.rows}
        content["Data"] = {
            "split": split or "as given",
            "people": len(people),
            "variant": first.variant,
            "frames": first.frames,
        }
        content["rows"] = {name: value["rows"] for name, value in side.items()}
        page, _ = write_evaluation(folder, "Evaluation as served", content, plots)
    except OSError as error:
        raise EvaluationError(
            f"{folder} cannot be written: {error.strerror or error}; free some room or name another folder"
        ) from error
    return page
