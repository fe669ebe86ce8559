"""The client: a path or a clip goes in, a verdict comes out of a server somewhere else."""

import hashlib
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.connect import connect
from client.endpoint import TlsOptions, parse_url
from client.errors import BadResponse, DetectorNotFound, ExplainerNotFound, InvalidFrames, InvalidOption, ServerError
from client.explanation import Explanation, check_maps
from client.judge import Scores, judge
from client.model_info import DEFAULT_DETECTOR, ModelInfo, explainer_name
from client.served import ServedModelCache
from client.settings import ClientSettings
from client.transport import Deadline, InferAnswer, ModelStatistics
from client.verdict import ServedModel, Verdict
from preprocess import Extraction, ExtractionOptions

if TYPE_CHECKING:
    from preprocess import Preprocessor

logger = logging.getLogger(__name__)

_STATISTICS_S = 2.0
_STATISTICS_TRIES = 4
_STATISTICS_PAUSE_S = 0.002
_ROUNDING = 1e-6
"""How far outside [0, 1] a probability may lie by rounding alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A verdict with the crops that it rests on."""

    verdict: Verdict
    extraction: Extraction


class Detector:
    """A detector on a Triton server.

    Safe to share between threads, not across a fork. Nothing is sent before the first call that needs an answer.

    Args:
        url: ``host:port``, ``grpc://`` or ``grpcs://`` for gRPC; ``http://`` or ``https://`` for HTTP.
        detector: Name of the ensemble.
        deadline_s: Seconds that a call to the server may take, connecting included; None: the setting's. The client keeps
            it: Triton gives each step of an ensemble the whole timeout again.
        tls: Certificates for the secure schemes.
        settings: Limits and defaults; None: from the environment.
        notes: Sentences for people that every verdict carries, such as why this detector was chosen.

    Raises:
        InvalidUrl: ``url`` cannot be read.
        InvalidOption: ``deadline_s`` is not a number above 0, or ``tls`` comes with an insecure scheme.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        detector: str = DEFAULT_DETECTOR,
        deadline_s: float | None = None,
        tls: TlsOptions | None = None,
        settings: ClientSettings | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.settings = settings or ClientSettings()
        self.deadline_s = self.settings.deadline_s if deadline_s is None else deadline_s
        if not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise InvalidOption(f"deadline_s is {self.deadline_s}; it must be a number of seconds above 0")
        if not detector:
            raise InvalidOption("detector is empty; name the ensemble, such as deepfake_detector")
        endpoint = parse_url(url)
        if tls is not None and not endpoint.secure:
            raise InvalidOption(f"TLS options with {url!r}, which is not encrypted; use grpcs:// or https://")
        self.url = endpoint.url
        self.detector = detector
        self.notes = tuple(notes)
        self._transport = connect(endpoint, tls=tls, settings=self.settings)
        self._served = ServedModelCache(self._transport, detector, self.url, max_age_s=self.settings.metadata_max_age_s)
        self._preprocessor: Preprocessor | None = None

    def model(self) -> ServedModel:
        """The detector's facts as the server has them.

        Raises:
            ServerError: They cannot be read.
        """
        return self._served.get(Deadline(self.deadline_s, self.url))

    def infer_frames(self, frames: NDArray[np.uint8]) -> Scores:
        """Scores one clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB, H and W the model's ``image_size_px``, T from 1 to its ``max_frames``.

        Raises:
            InvalidFrames: They are not; nothing was sent but, the first time, the question for the model's facts.
            ServerError: One of its kinds, within ``deadline_s``.
        """
        deadline = Deadline(self.deadline_s, self.url)
        model = self._served.get(deadline)
        check_frames(frames, model.info)
        started = time.perf_counter()
        try:
            answer = self._transport.infer(self.detector, frames, deadline)
            scores = self._checked(answer, len(frames), model, time.perf_counter() - started)
            if answer.model_version != model.version:
                # Another version answered than the one whose threshold would be applied.
                self._served.forget()
                model = self._served.get(deadline)
                if answer.model_version != model.version:
                    raise BadResponse(
                        f"{self.url} answered with version {answer.model_version!r} of {self.detector!r} while it names "
                        f"{model.version!r} as its latest; versions are changing, send the request again"
                    )
                scores = replace(scores, model=model)
        except ServerError:
            self._served.forget()
            raise
        return scores

    def explain_frames(self, frames: NDArray[np.uint8]) -> Explanation:
        """Where in the pictures the detector found what raised the clip's score, and what lowered it.

        Args:
            frames: (T, H, W, 3) uint8 RGB, as for ``infer_frames``; a clip of ``analyze(...).extraction.clips`` has them.

        Raises:
            InvalidFrames: They are not what the model takes.
            ExplainerNotFound: The server has no explainer of this detector, or one of other weights.
            ServerError: One of its kinds, within ``deadline_s``.
        """
        deadline = Deadline(self.deadline_s, self.url)
        model = self._served.get(deadline)
        check_frames(frames, model.info)
        explainer = explainer_name(self.detector)
        remedy = "build it with `unmask export --explainer`, and serve without --no-explainer"
        started = time.perf_counter()
        try:
            parameters = self._transport.describe(explainer, deadline).parameters
            answer = self._transport.infer(explainer, frames, deadline)
        except DetectorNotFound as error:
            raise ExplainerNotFound(f"{self.url} offers no explainer of {self.detector!r} ({explainer}); {remedy}") from error
        if parameters.get("weights_sha256") != model.info.weights_sha256:
            raise ExplainerNotFound(
                f"{explainer} on {self.url} explains other weights than those of {self.detector!r}; {remedy}"
            )
        scores = self._checked(answer, len(frames), model, time.perf_counter() - started)
        missing = [name for name in ("HEATMAPS", "EVIDENCE") if name not in answer.outputs]
        if missing:
            raise BadResponse(f"{self.url} answered without {missing[0]}; {explainer!r} is no explainer of this contract")
        heatmaps, evidence = answer.outputs["HEATMAPS"], answer.outputs["EVIDENCE"]
        check_maps(heatmaps, evidence, len(frames), self.url)
        return Explanation(heatmaps=heatmaps, evidence=evidence, scores=scores)

    def detect(self, path: str | Path, *, frames: int | None = None) -> Verdict:
        """The verdict of a video or an image; see ``analyze``."""
        return self.analyze(path, frames=frames).verdict

    def analyze(self, path: str | Path, *, frames: int | None = None) -> Analysis:
        """The verdict of a video or an image, with the crops.

        Args:
            path: A local file.
            frames: Frames to sample from a video, spread over all of it; None: what the model was trained for, or the
                setting ``frames``.

        Raises:
            InvalidFrames: ``frames`` is outside 1 to the model's ``max_frames``.
            preprocess.errors.PreprocessError: The file cannot be read.
            ServerError: One of its kinds. The server is asked first: without one nothing is decoded.
        """
        started = time.perf_counter()
        info = self.model().info
        count = default_frames(info, self.settings.frames) if frames is None else frames
        if not 1 <= count <= info.max_frames:
            raise InvalidFrames(
                f"frames is {count}; {self.detector} takes 1 to {info.max_frames} frames of a clip; ask for fewer"
            )
        start_s = time.perf_counter()
        preprocessor = self._preprocess()
        start_s = time.perf_counter() - start_s
        extraction = preprocessor.extract(
            Path(path),
            ExtractionOptions(frames=count, image_size_px=info.image_size_px, crop_margin=info.crop_margin),
        )
        hash_started = time.perf_counter()
        digest = _sha256(extraction.source.path)
        hash_s = time.perf_counter() - hash_started
        verdict = self.detect_clips(extraction, frames_requested=count, source_sha256=digest)
        stage_s = {
            "start": round(start_s, 6),
            **verdict.stage_s,
            "hash": round(hash_s, 6),
            "total": round(time.perf_counter() - started, 6),
        }
        verdict = replace(verdict, stage_s=stage_s)
        return Analysis(verdict=verdict, extraction=extraction)

    def detect_clips(
        self, extraction: Extraction, *, frames_requested: int | None = None, source_sha256: str | None = None
    ) -> Verdict:
        """The verdict of a file that was preprocessed already.

        Raises:
            InvalidFrames: The crops are not of the model's size or number.
            ServerError: One of its kinds.
        """
        started = time.perf_counter()
        model = self.model()
        shortest = 1 if extraction.source.kind == "image" else min(self.settings.min_frames, frames_requested or 1)
        stage_s = {name: seconds for name, seconds in extraction.stage_s.items() if name != "total"}
        before = self._statistics()
        scores: dict[int, Scores] = {}
        # One after the other: side by side the server would merge them into other batches each time, and the same file
        # would not give the same bits.
        for clip in extraction.clips:
            if len(clip) >= shortest:
                scores[clip.track_id] = self.infer_frames(clip.frames)
                model = scores[clip.track_id].model
        stage_s["request"] = sum(item.request_s for item in scores.values())
        if scores and before:
            stage_s.update(self._server_stages(before, len(scores)))
        stage_s["total"] = extraction.stage_s.get("total", 0.0) + time.perf_counter() - started
        return judge(
            extraction,
            scores,
            model,
            frames_requested=frames_requested or len(extraction.sampled_frame_indices),
            source_sha256=source_sha256,
            stage_s=stage_s,
            notes=self.notes,
        )

    def close(self) -> None:
        """Lets go of connections and of the decoding process."""
        if self._preprocessor is not None:
            self._preprocessor.close()
            self._preprocessor = None
        self._transport.close()

    def __enter__(self) -> "Detector":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _preprocess(self) -> "Preprocessor":
        if self._preprocessor is None:
            from preprocess import Preprocessor

            self._preprocessor = Preprocessor()
        return self._preprocessor

    def _statistics(self) -> dict[str, ModelStatistics]:
        # A courtesy: a server that will not tell its counters still gives verdicts, and one that is gone is met next.
        try:
            return self._transport.statistics(Deadline(min(self.deadline_s, _STATISTICS_S), self.url))
        except ServerError as error:
            logger.debug("no statistics: %s", error)
            return {}

    def _server_stages(self, before: dict[str, ModelStatistics], requests: int) -> dict[str, float]:
        # Triton counts a request a moment after it has sent the answer.
        for _ in range(_STATISTICS_TRIES):
            stages = _server_stages(before, self._statistics(), self.detector, requests)
            if stages:
                return stages
            time.sleep(_STATISTICS_PAUSE_S)
        return {}

    def _checked(self, answer: InferAnswer, count: int, model: ServedModel, request_s: float) -> Scores:
        shapes = {"CLIP_PROBABILITY": (1,), "FRAME_PROBABILITIES": (count,), "FRAME_LOGITS": (count, 2)}
        for name, shape in shapes.items():
            if name not in answer.outputs:
                raise BadResponse(f"{self.url} answered without {name}; {self.detector!r} is no detector of this contract")
            values = answer.outputs[name]
            if values.shape != shape:
                raise BadResponse(f"{self.url} answered {name} with shape {values.shape}; for {count} frames it is {shape}")
            if not np.isfinite(values).all():
                raise BadResponse(
                    f"{self.url} answered {name} with {values[~np.isfinite(values)][0]}; every value must be finite; "
                    "the weights or their precision are broken, export them again"
                )
            if name != "FRAME_LOGITS" and (values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING):
                raise BadResponse(f"{self.url} answered {name} in [{values.min()}, {values.max()}]; it must be in [0, 1]")
        return Scores(
            score=min(1.0, max(0.0, float(answer.outputs["CLIP_PROBABILITY"][0]))),
            frame_scores=np.clip(answer.outputs["FRAME_PROBABILITIES"], 0.0, 1.0),
            frame_logits=answer.outputs["FRAME_LOGITS"],
            model=model,
            request_s=request_s,
        )


def check_frames(frames: NDArray[np.uint8], info: ModelInfo) -> None:
    """Holds a clip against what the model takes.

    Raises:
        InvalidFrames: Another dtype, shape, size or number of frames; the message shows both.
    """
    size = info.image_size_px
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        found = frames.dtype if isinstance(frames, np.ndarray) else type(frames).__name__
        raise InvalidFrames(
            f"frames are {found}; {info.detector} takes a uint8 array; convert 0..1 values with (x * 255).round()"
        )
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
        raise InvalidFrames(
            f"frames have shape {frames.shape}; {info.detector} takes (T, {size}, {size}, 3) RGB; resize the crops"
        )
    if not 1 <= len(frames) <= info.max_frames:
        raise InvalidFrames(
            f"the clip has {len(frames)} frames; {info.detector} takes 1 to {info.max_frames}: sample fewer or send several"
        )


def default_frames(info: ModelInfo, preferred: int) -> int:
    """The trained clip length nearest to ``preferred``, or ``preferred`` where any length was trained; within the limit."""
    wanted = min(info.training_frames, key=lambda count: (abs(count - preferred), count), default=preferred)
    return min(wanted, info.max_frames)


def _sha256(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        logger.warning("%s vanished after it was read (%s); its verdict has no checksum", path, error)
        return None


def _server_stages(
    before: dict[str, ModelStatistics], after: dict[str, ModelStatistics], detector: str, requests: int
) -> dict[str, float]:
    """Queue and compute time inside the server, where its counters moved by our requests alone; else nothing is said."""
    moved = {
        name: stats.successes - before[name].successes
        for name, stats in after.items()
        if name in before and stats.successes != before[name].successes
    }
    composing = [name for name in moved if name != detector] or list(moved)
    if detector not in moved or set(moved.values()) != {requests}:
        return {}
    return {
        "server_queue": sum(after[name].queue_ns - before[name].queue_ns for name in composing) / 1e9,
        "server_compute": sum(after[name].compute_ns - before[name].compute_ns for name in composing) / 1e9,
    }
