"""Where things of a checkout lie."""

from pathlib import Path


def default_repository() -> Path:
    """``model_repository/`` of the checkout that this package lies in."""
    return Path(__file__).resolve().parent.parent / "model_repository"
