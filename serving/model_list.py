"""Which models of a repository a server loads. Only the standard library: the guard asks anew at each start of Triton."""

from pathlib import Path


def models_to_load(repository: Path, *, explainer: bool) -> list[str]:
    """Names for Triton's ``--load-model``: all, but explainers only where they are wanted and built.

    An explainer is known by its name (``client.model_info.explainer_name``); nothing that computes scores depends on one.
    """
    models = sorted(path.parent for path in repository.glob("*/config.pbtxt"))
    return [model.name for model in models if not explains(model) or (explainer and is_built(model))]


def explains(model: Path) -> bool:
    """True for an explainer and the models that it is made of."""
    return model.name.startswith(("deepfake_explainer", "explain_"))


def is_built(model: Path) -> bool:
    """True where the model has a version."""
    return any(part.name.isdecimal() for part in model.iterdir())
