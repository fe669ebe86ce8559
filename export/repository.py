"""Writes detectors into a model repository, and takes them out: all or nothing, on disk and on a running server."""

import contextlib
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from client.model_info import DEFAULT_DETECTOR, ModelInfo
from export import contents, graphs
from export.build import Int8Source, Recipe, build_encoder, build_head, variant_of
from export.contents import content_sha256, detectors, latest_version, users
from export.detector import ClipHead, FrameEncoder
from export.errors import LiveError, RepositoryError
from export.explainer import remove_explainer
from export.live import LiveServer
from export.locks import exporting, replacing
from export.model_configs import Variant, encoder_config, ensemble_config, head_config, write_profiles
from export.parity import Comparison, compare, require
from export.place import delete_models, share, staging_for, swap_in, sweep

logger = logging.getLogger("unmask.export")
ENCODER, HEAD = "frame_encoder", "clip_head"
SPARE_BYTES = 64 * 2**20
"""Room that an export leaves on the disk."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an export left in the repository."""

    repository: Path
    models: tuple[str, ...]
    """Encoder, head and ensemble; the first two may be shared with other detectors."""
    comparisons: tuple[Comparison, ...]
    """Empty where the detector was there already, unchanged."""
    version: int
    int8: bool
    """Whether the ``cpu`` profile has an INT8 encoder."""
    removed: tuple[str, ...] = ()
    """Models that nothing uses any longer."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A composing model: its name, and whether its files have to be made."""

    name: str
    sha256: str
    build: bool

    @property
    def twin(self) -> str:
        """The same graphs under a name that nothing else has; of a model that is not built here: itself."""
        return f"{self.name}_{self.sha256[:12]}" if self.build else self.name


def write_detector(
    encoder: FrameEncoder,
    head: nn.Module,
    info: ModelInfo,
    repository: Path,
    *,
    int8: Int8Source = Int8Source(),  # noqa: B008 - frozen
    live: LiveServer | None = None,
) -> Written:
    """Exports, compares with PyTorch, and only then puts the models into ``repository``; the same detector twice is a no-op.

    Args:
        encoder: Frames -> features.
        head: Features -> logits of each frame.
        info: The detector's facts; its name decides what is replaced.
        repository: Folder with one folder a model; made where it is not there.
        int8: Where the ranges of the INT8 graph come from.
        live: A server on this repository, which changes over when the files are in place.

    Raises:
        CheckpointError, CalibrationError, ParityError: Nothing was written.
        RepositoryError: The repository cannot be written; nothing was changed.
        LiveError: The server refused; files and server are as they were.
    """
    clip_head = ClipHead(head, temperature=info.temperature).eval()
    encoder = encoder.eval()
    with exporting(repository), staging_for(repository) as staging:
        try:
            sweep(repository, ENCODER, HEAD)
            _require_ours(repository, info.detector)
            recipe = int8.recipe(encoder, clip_head, info, staging)
            variant = variant_of(recipe, head)
            names = _parts(repository, encoder, clip_head, info, recipe, variant, in_place=live is None)
            unchanged = _unchanged(repository, info, names)
            if unchanged:
                logger.info("%s is there already, unchanged", info.detector)
                if live is not None:
                    for model in (names[0].name, names[1].name, info.detector):
                        live.load(model)  # of a server that had not heard of it; otherwise nothing happens
                return Written(repository, (names[0].name, names[1].name, info.detector), (), unchanged, variant.int8_encoder)
            if live is None and _overwrites(repository, info.detector, names):
                with replacing(repository):
                    pass  # asked for here as well, so that nobody waits for an export that will be refused
            _check_room(repository, encoder, head, names)
            comparisons = _stage(staging, repository, encoder, clip_head, info, names, recipe, variant)
            version = latest_version(repository / info.detector) + 1
            (staging / info.detector / str(version)).mkdir()
            contents.write_content(
                staging / info.detector / str(version), info.weights_sha256, encoder=names[0].sha256, head=names[1].sha256
            )
            detour = _stage_detour(staging, repository, info, version, names, variant)
            removed = _swap(staging, repository, info.detector, version, names, detour, live)
        except OSError as error:
            raise RepositoryError(f"cannot write to {repository}: {error.strerror or error}; nothing was changed") from error
    models = (names[0].name, names[1].name, info.detector)
    return Written(repository, models, tuple(comparisons), version, variant.int8_encoder, removed)


def remove_detector(name: str, repository: Path, *, live: LiveServer | None = None) -> tuple[str, ...]:
    """Takes a detector out, and the models that no other one is made of; on a server, after their requests are answered.

    Returns:
        The models that are gone.

    Raises:
        RepositoryError: There is no such detector, or a server runs on the repository and ``live`` is None.
        LiveError: The server refused; the files are untouched.
    """
    if not repository.is_dir():
        raise RepositoryError(f"there is no model repository at {repository}")
    with exporting(repository):
        found = {installed.info.detector: installed for installed in detectors(repository)}
        if name not in found:
            raise RepositoryError(f"{repository} has no detector {name!r}; it has {', '.join(found) or 'none'}")
        others = {model for other in found.values() if other.info.detector != name for model in other.models}
        gone = (name, *(model for model in found[name].models if model not in others))
        remove_explainer(name, repository, live=live)
        if live is not None:
            for model in gone:
                live.unload(model)
        with contextlib.nullcontext() if live is not None else replacing(repository):
            delete_models(repository, gone)
    return gone


def write_configs(
    repository: Path,
    info: ModelInfo,
    *,
    encoder: str | None = ENCODER,
    head: str | None = HEAD,
    made_of: tuple[str, str] = (ENCODER, HEAD),
    variant: Variant = Variant(),  # noqa: B008 - frozen
) -> None:
    """Writes the configurations of a detector's models, one a profile; None leaves a composing model out."""
    ensemble = partial(ensemble_config, encoder=made_of[0], head=made_of[1])
    wanted = (
        (info.detector, ensemble),
        (encoder, partial(encoder_config, variant=variant)),
        (head, partial(head_config, variant=variant)),
    )
    for model, config in wanted:
        if model is not None:
            write_profiles(repository / model, partial(config, model, info))


def _parts(
    repository: Path,
    encoder: FrameEncoder,
    head: ClipHead,
    info: ModelInfo,
    recipe: Recipe,
    variant: Variant,
    *,
    in_place: bool,
) -> tuple[_Part, _Part]:
    """Names of the composing models: an existing one with the same content, the plain name of the default detector, or a name
    with the content's hash in it, so that a model in use is never changed under its users."""
    shared = {"max_frames": info.max_frames, "image_size_px": info.image_size_px}
    hashes = {
        ENCODER: content_sha256(encoder, int8=recipe.digest, **shared),
        HEAD: content_sha256(head, semantics=head.semantics, temperature=info.temperature, int8=variant.int8_head, **shared),
    }
    found = []
    for plain, sha256 in hashes.items():
        same = [name for name, content in contents.models_with(repository, plain) if content == sha256]
        if same:
            found.append(_Part(same[0], sha256, build=False))
            continue
        mine = set(users(repository, plain)) <= {info.detector}
        unbuilt = latest_version(repository / plain) == 0
        name = plain if info.detector == DEFAULT_DETECTOR and mine and (unbuilt or in_place) else f"{plain}_{sha256[:12]}"
        found.append(_Part(name, sha256, build=True))
    return found[0], found[1]


def _unchanged(repository: Path, info: ModelInfo, names: tuple[_Part, _Part]) -> int:
    """The version that is there already, with the same facts and models; 0 otherwise."""
    for installed in detectors(repository):
        if installed.info == info and installed.models == tuple(part.name for part in names) and installed.version:
            return 0 if any(part.build for part in names) else installed.version
    return 0


def _require_ours(repository: Path, name: str) -> None:
    if (repository / name).exists() and name not in {found.info.detector for found in detectors(repository)}:
        raise RepositoryError(
            f"{repository} has a model {name!r} that is no detector, and it is not overwritten; --name chooses another name"
        )


def _overwrites(repository: Path, detector: str, names: tuple[_Part, _Part]) -> bool:
    new = [part.name for part in names if part.build]
    return any(latest_version(repository / name) for name in (*new, detector))


def _check_room(repository: Path, encoder: nn.Module, head: nn.Module, names: tuple[_Part, _Part]) -> None:
    parts = [module for module, part in zip((encoder, head), names, strict=True) if part.build]
    weights = sum(value.numel() * 4 for module in parts for value in module.state_dict().values())
    # fp32, fp16 and int8 files, and one more fp32 while quantising.
    needed = int(weights * 2.75) + SPARE_BYTES
    free = shutil.disk_usage(repository).free
    if free < needed:
        raise RepositoryError(
            f"{repository} has {free / 2**20:.0f} MiB of free disk, this export needs {needed / 2**20:.0f} MiB; nothing was changed"
        )


def _stage(
    staging: Path,
    repository: Path,
    encoder: FrameEncoder,
    head: ClipHead,
    info: ModelInfo,
    names: tuple[_Part, _Part],
    recipe: Recipe,
    variant: Variant,
) -> list[Comparison]:
    """Makes everything beside the repository, and compares what will be served with PyTorch."""
    folders = []
    for part in names:
        if part.build:
            folder = staging / part.name / "1"
            folder.mkdir(parents=True)
        else:
            folder = repository / part.name / str(latest_version(repository / part.name))
        folders.append(folder)
    if names[0].build:
        build_encoder(encoder, folders[0], info, recipe)
    if names[1].build:
        build_head(head, folders[1], variant)
    for part, folder in zip(names, folders, strict=True):
        if part.build:
            contents.write_content(folder, part.sha256)
    comparisons = compare(
        encoder, head, folders[0] / graphs.FILES["fp32"], folders[1] / graphs.FILES["fp32"], image_size_px=info.image_size_px
    )
    require(comparisons)
    write_configs(
        staging,
        info,
        encoder=names[0].name if names[0].build else None,
        head=names[1].name if names[1].build else None,
        made_of=(names[0].name, names[1].name),
        variant=variant,
    )
    return comparisons


def _stage_detour(
    staging: Path, repository: Path, info: ModelInfo, version: int, names: tuple[_Part, _Part], variant: Variant
) -> tuple[Path, ...]:
    """The new detector under other names, to be served while models of its own names are replaced one after the other: an encoder
    must never stand beside another one's head. Its models, the ensemble last; nothing where no model is in the way."""
    if not any(part.build and latest_version(repository / part.name) for part in names):
        return ()
    folder = staging / ".detour"
    made_of = names[0].twin, names[1].twin
    built = [part for part in names if part.build]
    write_configs(
        folder,
        info,
        encoder=made_of[0] if names[0].build else None,
        head=made_of[1] if names[1].build else None,
        made_of=made_of,
        variant=variant,
    )
    for source, target in [(info.detector, info.detector), *((part.name, part.twin) for part in built)]:
        number = str(version if source == info.detector else 1)
        shutil.copytree(staging / source / number, folder / target / number, copy_function=share)
    return (*(folder / part.twin for part in built), folder / info.detector)


def _swap(
    staging: Path,
    repository: Path,
    detector: str,
    version: int,
    names: tuple[_Part, _Part],
    detour: tuple[Path, ...],
    live: LiveServer | None,
) -> tuple[str, ...]:
    """Moves what was staged into place, the ensemble last, and has the server follow; undoes all of it where that fails."""
    new = [part.name for part in names if part.build]
    before = next((installed for installed in detectors(repository) if installed.info.detector == detector), None)
    overwrites = _overwrites(repository, detector, names)
    with contextlib.ExitStack() as undo:
        guard = replacing(repository) if overwrites and live is None else contextlib.nullcontext()
        with guard:
            for folder in (*detour, *(staging / name for name in (*new, detector))):
                swap_in(folder, repository / folder.name)
                undo.callback(swap_in, folder, repository / folder.name)
                if live is not None:
                    live.load(folder.name)
                    if not (folder.name == detector and before is not None):
                        undo.callback(_unload_quietly, live, folder.name)
            delete_models(repository, tuple(folder.name for folder in detour[:-1]))
        # From here on the new detector serves; what is left is tidying up.
        undo.pop_all()
    if live is not None and before is not None:
        live.wait_drained(detector, keep=version)
    orphans = tuple(
        model
        for model in (before.models if before else ())
        if not users(repository, model) and contents.content_of(repository / model)
    )
    if live is not None:
        for model in orphans:
            live.unload(model)
    delete_models(repository, orphans)
    return orphans


def _unload_quietly(live: LiveServer, model: str) -> None:
    try:
        live.unload(model)
    except LiveError as error:
        logger.warning("%s", error)
