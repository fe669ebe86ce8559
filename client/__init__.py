"""Clip -> Triton request -> verdict, and the reports made of it."""

from client.model_info import ModelInfo, ModelInfoError, Semantics

__all__ = ["ModelInfo", "ModelInfoError", "Semantics"]
