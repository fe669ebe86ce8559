"""Clip -> Triton request -> verdict, and the reports made of it.

Public names are imported on first use: ``client.model_info`` is read by parts that need no gRPC.
"""

from typing import TYPE_CHECKING, Any

from client.model_info import ModelInfo, ModelInfoError, Semantics

if TYPE_CHECKING:
    from client.choice import Choice, choose, list_detectors
    from client.detector import Analysis, Detector
    from client.endpoint import TlsOptions
    from client.errors import ClientError
    from client.explanation import Explanation
    from client.judge import Scores
    from client.settings import ClientSettings
    from client.verdict import ServedModel, Verdict

__all__ = [
    "Analysis",
    "Choice",
    "ClientError",
    "ClientSettings",
    "Detector",
    "Explanation",
    "ModelInfo",
    "ModelInfoError",
    "Scores",
    "Semantics",
    "ServedModel",
    "TlsOptions",
    "Verdict",
    "choose",
    "list_detectors",
]

_HOMES = {
    "Analysis": "client.detector",
    "Choice": "client.choice",
    "ClientError": "client.errors",
    "ClientSettings": "client.settings",
    "Detector": "client.detector",
    "Explanation": "client.explanation",
    "Scores": "client.judge",
    "ServedModel": "client.verdict",
    "TlsOptions": "client.endpoint",
    "Verdict": "client.verdict",
    "choose": "client.choice",
    "list_detectors": "client.choice",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'client' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
