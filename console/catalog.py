"""Which detectors the server has, and their facts; remembered for a moment, so that no page waits for Triton."""

import logging
import threading
import time
from dataclasses import dataclass

from client.connect import connect
from client.endpoint import parse_url
from client.errors import ClientError
from client.model_info import ModelInfo, ModelInfoError
from client.settings import ClientSettings
from client.transport import Deadline, Transport
from client.verdict import ServedModel

logger = logging.getLogger(__name__)
_FRESH_S = 15.0
_FRESH_AFTER_FAILURE_S = 1.0
_BUDGET_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What was found, or why nothing was."""

    models: tuple[ServedModel, ...] = ()
    error_code: str | None = None
    error_message: str | None = None

    def find(self, detector: str) -> ServedModel | None:
        """The detector of this name."""
        return next((model for model in self.models if model.info.detector == detector), None)


class CatalogReader:
    """Asks Triton; safe for threads."""

    def __init__(self, triton_url: str) -> None:
        self._url = triton_url
        self._transport: Transport | None = None
        self._lock = threading.Lock()
        self._known = Catalog(error_code="unreachable", error_message="the server has not been asked yet")
        self._until = 0.0

    def peek(self) -> Catalog:
        """What is known, without asking anybody."""
        return self._known

    def read(self) -> Catalog:
        """What is known, at most some seconds old. Never raises: an error is part of the answer."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._known = Catalog(models=self._ask())
                    self._until = time.monotonic() + _FRESH_S
                except ClientError as error:
                    self._known = Catalog(error_code=error.code, error_message=str(error))
                    self._until = time.monotonic() + _FRESH_AFTER_FAILURE_S
            return self._known

    def _ask(self) -> tuple[ServedModel, ...]:
        if self._transport is None:
            self._transport = connect(parse_url(self._url), tls=None, settings=ClientSettings())
        deadline = Deadline(_BUDGET_S, self._url)
        found = []
        for name in sorted(self._transport.statistics(deadline)):
            description = self._transport.describe(name, deadline)
            if not description.composing or "semantics" not in description.parameters:
                continue  # a part of a detector, or somebody else's model
            try:
                info = ModelInfo.from_parameters(description.parameters)
            except ModelInfoError as error:
                logger.warning("%s serves %s without usable metadata: %s", self._url, name, error)
                continue
            parts = list(description.composing.values())
            found.append(
                ServedModel(
                    info=info,
                    version=description.version,
                    profile="+".join(dict.fromkeys(part["profile"] for part in parts if "profile" in part)) or "unknown",
                    precision="+".join(dict.fromkeys(part["precision"] for part in parts if "precision" in part)) or "unknown",
                )
            )
        return tuple(found)

    def close(self) -> None:
        """Lets go of the connection."""
        if self._transport is not None:
            self._transport.close()
