"""What the API answers with: the shapes that the OpenAPI document describes."""

from datetime import UTC, datetime
from json import loads
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from client.verdict import ServedModel
from console.tables import AnalysisRow

State = Literal["queued", "running", "done", "failed"]
Stage = Literal["waiting", "decode", "faces", "network", "verdict"]
LabelName = Literal["FAKE", "REAL", "UNCERTAIN", "NOT_EVALUATED"]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="`urn:unmask:problem:<code>`")
    title: str
    status: int
    detail: str = Field(description="The offending value, the limit and the remedy.")
    code: str = Field(description="Stable name for programs.")
    instance: str | None = Field(None, description="Path of the request.")
    errors: list[dict[str, Any]] | None = Field(None, description="Each option that is not valid, where there are several.")


class Options(_Document):
    """What was asked for."""

    detector: str
    frames: int | None = Field(description="null: what the model was trained for.")
    sampling: str
    start_s: float | None
    end_s: float | None


class Progress(_Document):
    """How far an analysis is."""

    stage: Stage | None = Field(description="`waiting`: for the detector's server, which cannot be reached.")
    frames_done: int
    frames_planned: int


class Failure(_Document):
    """Why there is no verdict."""

    code: str
    message: str


class Links(_Document):
    """Where to go on."""

    self: str
    events: str
    report: str
    page: str


class AnalysisSummary(_Document):
    """One file's analysis without its verdict's details."""

    id: str
    batch: str | None
    state: State
    progress: Progress
    filename: str
    kind: Literal["video", "image"]
    container: str
    size_bytes: int
    sha256: str
    options: Options
    label: LabelName | None = Field(description="null until there is a verdict.")
    reason: str | None
    score: float | None = Field(description="Probability of fake in [0, 1].")
    error: Failure | None = Field(description="Set if the state is failed.")
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When the result is deleted.")
    links: Links


class AnalysisDocument(AnalysisSummary):
    """One file's analysis."""

    verdict: dict[str, Any] | None = Field(description="As `/v1/schemas/verdict` describes; null until the state is done.")


class Refused(_Document):
    """A file of a batch that was not taken."""

    filename: str
    error: Problem


class BatchDocument(_Document):
    """Several files of one request."""

    batch: str
    analyses: list[AnalysisSummary]
    refused: list[Refused]


class AnalysisList(_Document):
    """A page of analyses."""

    items: list[AnalysisSummary]
    total: int = Field(description="Of all pages.")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class ModelDocument(_Document):
    """A detector that is served."""

    detector: str
    version: str
    profile: str
    precision: str
    info: dict[str, Any] = Field(description="What travels with the weights.")


class ModelList(_Document):
    """The detectors that are served."""

    default: str
    models: list[ModelDocument]


class Limits(_Document):
    """What the API takes."""

    max_upload_bytes: int
    max_batch_files: int
    max_batch_bytes: int
    max_queued: int
    max_wait_s: float
    result_ttl_s: float
    rate_limit: str
    min_frames: int
    max_frames: int = Field(description="A model may take fewer.")
    samplings: list[str]
    suffixes: list[str] = Field(description="Of files that are usually readable; what counts is the content.")


class FrameMap(_Document):
    """Of one face crop. Lists are rows from the top, each from the left."""

    frame_index: int
    heatmap: list[list[float]] = Field(description="Grad-CAM, 0 and above: what raised the score.")
    evidence: list[list[float]] = Field(description="With sign: what is negative lowered the score.")
    png: str = Field(description="The heat map as a picture to lay over the crop.")


class TrackMapsDocument(_Document):
    """Of one person."""

    track_id: int
    score: float = Field(
        description="Of the explainer, which computes in fp32; an INT8 detector's may differ in the third decimal."
    )
    largest: float = Field(description="Largest value of all heat maps of this person; the pictures are scaled by it.")
    frames: list[FrameMap]


class HeatMapsDocument(_Document):
    """Where the detector looked."""

    detector: str
    explainer: str
    method: Literal["grad-cam"] = "grad-cam"
    explains: Literal["logit of the clip's score, fake minus real"] = "logit of the clip's score, fake minus real"
    crop_px: int = Field(description="Side of the crop; each value of a map stands for an equal square of it.")
    tracks: list[TrackMapsDocument]


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as UTC."""
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def summary(row: AnalysisRow) -> AnalysisSummary:
    """The short form."""
    return AnalysisSummary(**_facts(row))


def document(row: AnalysisRow, *, verdict: bool = True) -> AnalysisDocument:
    """The whole; the row must have been read with its verdict."""
    return AnalysisDocument(**_facts(row), verdict=loads(row.verdict) if verdict and row.verdict else None)


def model_document(model: ServedModel) -> ModelDocument:
    """A detector's facts."""
    from dataclasses import asdict

    return ModelDocument(
        detector=model.info.detector,
        version=model.version,
        profile=model.profile,
        precision=model.precision,
        info=asdict(model.info),
    )


def _facts(row: AnalysisRow) -> dict[str, Any]:
    base = f"/v1/analyses/{row.id}"
    created = moment(row.created_at)
    failed = Failure(code=row.error_code, message=row.error_message or "") if row.error_code else None
    return {
        "id": row.id,
        "batch": row.batch_id,
        "state": row.state,
        "progress": Progress(stage=row.stage, frames_done=row.frames_done, frames_planned=row.frames_planned),  # type: ignore[arg-type]
        "filename": row.filename,
        "kind": row.kind,
        "container": row.container,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "options": Options(
            detector=row.detector, frames=row.frames, sampling=row.sampling, start_s=row.start_s, end_s=row.end_s
        ),
        "label": row.label,
        "reason": row.reason,
        "score": row.score,
        "error": failed,
        "attempts": row.attempts,
        "created_at": created,
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "expires_at": moment(row.expires_at),
        "links": Links(self=base, events=f"{base}/events", report=f"{base}/report", page=f"/analyses/{row.id}"),
    }
