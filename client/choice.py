"""Which of several detectors on a server to ask, for the number of frames that a caller wants."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from client.connect import connect
from client.endpoint import TlsOptions, parse_url
from client.errors import BadResponse, DetectorNotFound
from client.model_info import DEFAULT_DETECTOR, ModelInfo
from client.served import read_model
from client.settings import ClientSettings
from client.transport import Deadline
from client.verdict import ServedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A detector, and why it was taken where that is not plain."""

    detector: str
    note: str | None
    """A sentence for the verdict."""


def list_detectors(
    url: str, *, deadline_s: float | None = None, tls: TlsOptions | None = None, settings: ClientSettings | None = None
) -> list[ServedModel]:
    """The detectors that a server has ready, by name. Models of others on the same server are left out.

    Raises:
        InvalidUrl: ``url`` cannot be read.
        ServerError: The server does not answer.
    """
    settings = settings or ClientSettings()
    endpoint = parse_url(url)
    deadline = Deadline(settings.deadline_s if deadline_s is None else deadline_s, endpoint.url)
    transport = connect(endpoint, tls=tls, settings=settings)
    found = []
    try:
        for name in transport.ready_models(deadline):
            try:
                found.append(read_model(transport, name, endpoint.url, deadline))
            except (BadResponse, DetectorNotFound) as error:
                # A composing model, a model of somebody else, or one that was unloaded in this moment.
                logger.debug("%s is no detector: %s", name, error)
    finally:
        transport.close()
    return found


def choose(models: Sequence[ServedModel], frames: int | None) -> Choice:
    """The detector for clips of ``frames`` frames.

    Trained before untrained, then the one trained for the nearest length (one without lengths fits any), of those the most
    accurate: numbers are compared, not their text. Without ``frames`` it is the default one, where there is one.

    Raises:
        DetectorNotFound: There are none.
    """
    if not models:
        raise DetectorNotFound("the server has no detector ready; load one, or build one with `unmask export`")
    infos = [model.info for model in models]
    if frames is None:
        default = next((info for info in infos if info.detector == DEFAULT_DETECTOR), None)
        best = default or min(infos, key=lambda info: (not info.trained, -(info.accuracy or 0.0), info.detector))
        return Choice(detector=best.detector, note=None)
    best = min(infos, key=lambda info: (not info.trained, frames_away(info, frames), -(info.accuracy or 0.0), info.detector))
    note = None
    if len(infos) > 1 and frames_away(best, frames):
        nearest = min(best.training_frames, key=lambda count: (abs(count - frames), count))
        note = f"No detector was trained for {frames} frames; {best.detector}, trained for {nearest}, is the nearest of {len(infos)}."
    return Choice(detector=best.detector, note=note)


def frames_away(info: ModelInfo, frames: int) -> int:
    """Distance of a clip's length from the nearest that the weights were trained for; 0 for weights without lengths."""
    return min((abs(count - frames) for count in info.training_frames), default=0)
