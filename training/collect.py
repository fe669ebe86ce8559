"""Files -> records: faces found and cut out by ``preprocess``, with enough round them to blend and degrade."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from preprocess import ExtractionOptions, PreprocessError, Preprocessor
from preprocess.faces import Face, FaceFinder
from training.errors import EmptyClassError, ManifestError, PictureError
from training.landmarks import laid_over
from training.manifest import Item
from training.shards import Record, decode_picture, read_shards, write_shard

logger = logging.getLogger(__name__)

CONTEXT_MARGIN = 2.4
"""Side of the cached square, in multiples of the face box's longer side."""
BLOCK_FILES = 500
"""Files a shard: what is kept in memory at once, about 1.5 GB, and lost when collecting is stopped."""
MAX_FACE_PX = 120
"""Larger faces are scaled down to this before they are cached: the crop of 112 px shows no more."""


@dataclass(slots=True)
class Collected:
    """Records, and what was left out and why."""

    records: list[Record] = field(default_factory=list)
    faces: int = 0
    """Those that were written to shards."""
    skipped: Counter[str] = field(default_factory=Counter)


def photographs(archive: Path, landmarks: Path) -> Collected:
    """Portrait photographs in a zip of ``train/`` and ``val/`` with mesh points beside it (see docs/training.md).

    The folder ``val`` is divided by the identity's name into ``val`` (early stop, calibration) and ``test``.

    Raises:
        ManifestError: The files cannot be read or do not belong together.
    """
    collected = Collected()
    try:
        with landmarks.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names, points = file["files"].tolist(), file["points"].astype(np.float32) / 8
        with ZipFile(archive) as pictures, FaceFinder(min_confidence=0.5, max_faces=4) as finder:
            for name, mesh in zip(names, points, strict=True):
                identity = photograph_identity(name)
                encoded = pictures.read(name)
                try:
                    rgb = decode_picture(encoded, name)
                except PictureError as error:
                    logger.warning("%s", error)
                    collected.skipped["undecodable"] += 1
                    continue
                face = _nearest(finder.find(rgb), mesh.mean(0))
                if face is None:
                    collected.skipped["no_face"] += 1
                    continue
                collected.records.append(
                    Record(
                        encoded=encoded, box_px=(face.box.x0, face.box.y0, face.box.x1, face.box.y1), points_px=mesh, identity=identity,
                        source=name, split=photograph_split(name), label="real", dataset="photographs", native_face_px=face.box.side,
                    )
                )  # fmt: skip
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ManifestError(
            f"{archive} with {landmarks} cannot be read: {error}; both are needed, and belong together"
        ) from error
    return collected


def photograph_identity(name: str) -> str:
    """``train/Given_Family_0001.jpg`` -> ``Given_Family``."""
    return name.rsplit("/", 1)[-1].rsplit("_", 1)[0]


def photograph_split(name: str) -> str:
    """``train`` as the folder says; half of the people of ``val`` are the examination's."""
    if name.startswith("train/"):
        return "train"
    return "val" if sha256(b"half/" + photograph_identity(name).encode()).digest()[0] % 2 == 0 else "test"


def video_shards(items: Sequence[Item], mean: NDArray[np.float32], folder: Path, *, frames: int) -> Collected:
    """Shards of the genuine videos, ``BLOCK_FILES`` files each, written as they are done: a stopped collection goes on at its block.

    A shard is named by the files in it. Those of an earlier list that are not of this one are removed at the end.

    Returns:
        The counts; records are in the shards.

    Raises:
        EmptyClassError: No face was found in any file.
        ShardError: There is no room.
    """
    used = [item for item in items if item.label == "real" and item.split != "unused"]
    total = Collected()
    total.skipped.update(
        {"fake": sum(item.label == "fake" for item in items), "unused": sum(i.split == "unused" for i in items)}
    )
    shards: set[Path] = set()
    for start in range(0, len(used), BLOCK_FILES):
        block = used[start : start + BLOCK_FILES]
        names = "\n".join(f"{Path(item.path).absolute()} {item.split} {'+'.join(item.identities)}" for item in block)
        path = folder / f"videos-{sha256(f'{frames} {names}'.encode()).hexdigest()[:12]}.npz"
        if not path.exists():
            found = videos(block, mean, frames=frames)
            total.skipped += found.skipped
            if not found.records:
                continue
            write_shard(path, found.records)
            total.faces += len(found.records)
        else:
            total.faces += len(read_shards([path]))
        shards.add(path)
        logger.info("%d of %d files done", min(start + BLOCK_FILES, len(used)), len(used))
    total.skipped = +total.skipped
    if not shards:
        raise EmptyClassError(
            f"no face in any of {len(items)} files: {dict(total.skipped)}; is --root the folder that the paths are in?"
        )
    for path in set(folder.glob("videos*.npz")) - shards:
        path.unlink()
    return total


def videos(items: Sequence[Item], mean: NDArray[np.float32], *, frames: int, dataset: str | None = None) -> Collected:
    """Faces of each file's dominant track, cut with ``CONTEXT_MARGIN``; files that cannot be evaluated are counted."""
    collected = Collected()
    with Preprocessor() as preprocessor, FaceFinder(min_confidence=0.5, max_faces=4) as finder:
        for item in items:
            try:
                found = list(_frames_of(item, preprocessor, frames))
            except PreprocessError as error:
                logger.warning("%s is left out: %s", item.path, error)
                collected.skipped[error.code] += 1
                continue
            if not found:
                collected.skipped["no_face"] += 1
            for picture, native_px in found:
                face = _nearest(finder.find(picture), np.array(picture.shape[1::-1], np.float32) / 2)
                if face is None:
                    collected.skipped["no_face_in_cutting"] += 1
                    continue
                collected.records.append(
                    Record(
                        encoded=_png(picture), box_px=(face.box.x0, face.box.y0, face.box.x1, face.box.y1),
                        points_px=laid_over(mean, face.points),
                        identity="+".join(item.identities), source=_source(item), split=item.split, label=item.label,
                        dataset=dataset or item.dataset, method=item.method, native_face_px=native_px,
                    )
                )  # fmt: skip
    return collected


def _source(item: Item) -> str:
    """The file's name, with its compression: data sets give all compressions of a video the same name."""
    name = Path(item.path).name
    return f"{item.compression}/{name}" if item.compression else name


def _frames_of(item: Item, preprocessor: Preprocessor, frames: int) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Cuttings of the dominant track at the face's own size, at most ``MAX_FACE_PX``."""
    look = preprocessor.extract(item.path, ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=min(frames, 4)))
    if not look.clips:
        return
    boxes = look.clips[0].boxes_px
    native = float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    side = round(CONTEXT_MARGIN * min(native, MAX_FACE_PX))
    options = ExtractionOptions(image_size_px=max(16, side), crop_margin=CONTEXT_MARGIN, frames=frames)
    extraction = preprocessor.extract(item.path, options)
    if not extraction.clips:
        return
    clip = extraction.clips[0]
    for picture, box in zip(clip.frames, clip.boxes_px, strict=True):
        yield picture, float(max(box[2] - box[0], box[3] - box[1]))


def _nearest(faces: Sequence[Face], point: NDArray[np.float32]) -> Face | None:
    """The face round a point, of several the one with the nearest centre."""
    best = min(faces, key=lambda face: float(np.hypot(*(np.array(face.box.centre) - point))), default=None)
    if best is None or float(np.hypot(*(np.array(best.box.centre) - point))) > 0.5 * best.box.side:
        return None
    return best


def _png(rgb: NDArray[np.uint8]) -> bytes:
    import cv2

    _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return bytes(data)
