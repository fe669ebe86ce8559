"""The model repository as a server sees it: whether it can be served, which models, and that it is in use.

Only the standard library: the guard reads it, too.
"""

import fcntl
import os
from pathlib import Path

from serving.errors import RepositoryError

_REPOSITORY_REMEDY = "build it with `unmask export`"


def hold_repository(repository: Path) -> int:
    """Tells exports that a server runs on the repository: a shared flock(2) on its folder, which ends with this process.

    Returns:
        A file descriptor; closing it lets go.

    Raises:
        RepositoryError: An export is replacing models at this moment, or the folder cannot be opened.
    """
    handle = -1
    try:
        handle = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise RepositoryError(
            f"an export is replacing models in {repository} at this moment; start again when it is done"
        ) from None
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise RepositoryError(f"the model repository {repository} cannot be opened: {error.strerror}") from error
    return handle


def check_repository(repository: Path) -> None:
    """A repository must be a folder with at least one model.

    Raises:
        RepositoryError: It is not; the message says what is missing.
    """
    if not repository.is_dir():
        raise RepositoryError(f"there is no model repository at {repository}; {_REPOSITORY_REMEDY}")
    models = [path.parent for path in repository.glob("*/config.pbtxt")]
    if not models:
        raise RepositoryError(f"the model repository {repository} holds no model (no */config.pbtxt); {_REPOSITORY_REMEDY}")
    unbuilt = sorted(model.name for model in models if not _is_built(model) and not _explains(model))
    if unbuilt:
        raise RepositoryError(
            f"the models {', '.join(unbuilt)} in {repository} are not built (no version folder); {_REPOSITORY_REMEDY}"
        )


def models_to_load(repository: Path, *, explainer: bool) -> list[str]:
    """Names for Triton's ``--load-model``: all that are built, but explainers only where they are wanted.

    An explainer is known by its name (``client.model_info.explainer_name``); nothing that computes scores depends on one.
    """
    models = sorted(path.parent for path in repository.glob("*/config.pbtxt"))
    return [model.name for model in models if _is_built(model) and (explainer or not _explains(model))]


def _explains(model: Path) -> bool:
    return model.name.startswith(("deepfake_explainer", "explain_"))


def _is_built(model: Path) -> bool:
    return any(part.name.isdecimal() for part in model.iterdir())
