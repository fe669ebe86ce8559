"""The served model's facts, read when they are first needed and read again when they may have changed."""

import threading
import time

from client.errors import BadResponse
from client.model_info import ModelInfo, ModelInfoError
from client.transport import Deadline, Transport
from client.verdict import ServedModel


class ServedModelCache:
    """The facts of one detector on one server. Safe for threads."""

    def __init__(self, transport: Transport, detector: str, url: str, *, max_age_s: float) -> None:
        self._transport = transport
        self._detector = detector
        self._url = url
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._model: ServedModel | None = None
        self._read_at_s = 0.0

    def get(self, deadline: Deadline) -> ServedModel:
        """The facts, at most ``max_age_s`` old.

        Raises:
            ServerError: They cannot be read; ``BadResponse`` where they are read and make no sense.
        """
        # The lock is held while reading: threads that start together ask the server once.
        with self._lock:
            if self._model is None or time.monotonic() - self._read_at_s > self._max_age_s:
                self._model = None
                self._model = self._read(deadline)
                self._read_at_s = time.monotonic()
            return self._model

    def forget(self) -> None:
        """After a failure, or when the server's version changed, the next ``get`` reads again."""
        with self._lock:
            self._model = None

    def _read(self, deadline: Deadline) -> ServedModel:
        return read_model(self._transport, self._detector, self._url, deadline)


def read_model(transport: Transport, detector: str, url: str, deadline: Deadline) -> ServedModel:
    """The facts of one detector, as the server has them at this moment.

    Raises:
        ServerError: They cannot be read; ``BadResponse`` where they are read and make no sense.
    """
    description = transport.describe(detector, deadline)
    try:
        info = ModelInfo.from_parameters(description.parameters)
    except ModelInfoError as error:
        raise BadResponse(f"{url} serves {detector!r} without usable metadata: {error}") from error
    # The ensemble only routes: what computes the scores is in the composing models, and Triton falls back to another
    # configuration without a word.
    computing = list(description.composing.values()) or [description.parameters]
    return ServedModel(
        info=info,
        version=description.version,
        profile=_joined(computing, "profile"),
        precision=_joined(computing, "precision"),
    )


def _joined(parameters: list[dict[str, str]], key: str) -> str:
    return "+".join(dict.fromkeys(model[key] for model in parameters if model.get(key))) or "unknown"
