"""One list format for every data set: JSON lines, one file a line, and the check that no split leaks into another."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from common.files import written_whole
from training.errors import LeakError, ManifestError

Split = Literal["train", "val", "test", "unused"]
"""``train``: fitted on. ``val``: early stop, calibration, thresholds. ``test``: the examination, touched by neither."""
Label = Literal["real", "fake"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One video or picture."""

    path: str
    label: Label
    split: Split
    identities: tuple[str, ...]
    """Everybody whose face or scene is in it; of a swap both people. A source's own name where nobody knows who it is."""
    dataset: str
    method: str = ""
    """How a fake was made; empty for real ones."""
    compression: str = ""
    """Such as ``c23``; empty where unknown."""

    def __post_init__(self) -> None:
        if self.label not in get_args(Label):
            raise ManifestError(f"{self.path}: label is {self.label!r}; it must be one of {', '.join(get_args(Label))}")
        if self.split not in get_args(Split):
            raise ManifestError(f"{self.path}: split is {self.split!r}; it must be one of {', '.join(get_args(Split))}")
        if not self.identities or not all(self.identities):
            raise ManifestError(f"{self.path}: no identity; name who is in it, or the source where nobody knows")


def check_leaks(items: Iterable[Item]) -> None:
    """Refuses an identity, or a file, that stands in two splits.

    Raises:
        LeakError: Names up to five of them with their splits and a file in each.
    """
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for item in items:
        if item.split == "unused":
            continue
        for identity in item.identities:
            seen[f"{item.dataset}/{identity}"].setdefault(item.split, item.path)
        seen[os.path.realpath(item.path)].setdefault(item.split, item.path)
    _refuse(seen)


def check_people(rows: Iterable[tuple[str, Sequence[str], str, str]]) -> None:
    """``check_leaks`` of pictures that were cut out already.

    Args:
        rows: Data set, identities, split and source of each.

    Raises:
        LeakError: See ``check_leaks``.
    """
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for dataset, identities, split, source in rows:
        for identity in identities:
            seen[f"{dataset}/{identity}"].setdefault(split, source)
    _refuse(seen)


def _refuse(seen: Mapping[str, Mapping[str, str]]) -> None:
    leaks = [
        f"{who} is in " + " and ".join(f"{split} ({path})" for split, path in where.items())
        for who, where in seen.items()
        if len(where) > 1
    ]
    if leaks:
        more = f"; and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        raise LeakError(
            f"{'; '.join(leaks[:5])}{more}; an identity or source belongs to one split: move the files, or split by identity"
        )


def write_manifest(path: Path, items: Iterable[Item]) -> None:
    """Writes one JSON object a line.

    Raises:
        ManifestError: The file cannot be written.
    """
    try:
        with written_whole(path) as partial:
            partial.write_text("".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{path} cannot be written: {error.strerror or error}") from error


def read_manifest(path: Path) -> list[Item]:
    """Reads what ``write_manifest`` wrote; relative paths are taken from the manifest's folder.

    Raises:
        ManifestError: Unreadable, or a line is wrong; the message has its number.
        LeakError: See ``check_leaks``.
    """
    items: list[Item] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            fields["path"] = str(path.parent / fields["path"])
            fields["identities"] = tuple(fields["identities"])
            items.append(Item(**fields))
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise ManifestError(
                f"{path}, line {number}: {error}; a line is a JSON object with the fields of training.manifest.Item"
            ) from error
    if not items:
        raise ManifestError(f"{path} names no files")
    check_leaks(items)
    return items
