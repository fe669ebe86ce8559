"""Data sets as their publishers lay them out -> items of one manifest.

The splits are the publishers' where they give them, else by identity or source: an identity's split follows from the SHA-256 of
its name, so it is the same on every machine and whatever else is in the folder.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

from training.errors import ManifestError
from training.manifest import Item, Label, Split, check_leaks
from training.shards import PICTURE_SUFFIXES

_VIDEO = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"))


def split_of(identity: str, *, val: float = 0.15, test: float = 0.15) -> Split:
    """The split that an identity's name decides."""
    share = int.from_bytes(sha256(identity.encode()).digest()[:8], "big") / 2**64
    return "test" if share < test else "val" if share < test + val else "train"


def faceforensics(root: Path, *, splits: Path | None = None, compression: str | None = None) -> list[Item]:
    """FaceForensics++ (Roessler et al., ICCV 2019): ``original_sequences/*/<c>/videos`` and ``manipulated_sequences/<method>/<c>/videos``.

    A manipulated video is named after its two people, ``<target>_<source>``. People who were swapped with each other belong
    together, so the publishers' ``splits`` (a folder with train.json, val.json, test.json of pairs; ``root/splits`` where that is
    there) is used where given; else pairs that share a person are joined before they are divided.

    Raises:
        ManifestError, LeakError
    """
    found: list[tuple[Path, Label, tuple[str, ...], str, str]] = []
    for kind, label in (("original_sequences", "real"), ("manipulated_sequences", "fake")):
        for path in sorted((root / kind).glob("*/*/videos/*.mp4")):
            method, level = path.parts[-4], path.parts[-3]
            if compression is None or level == compression:
                people = (
                    tuple(path.stem.split("_")) if method not in ("actors", "DeepFakeDetection") else _dfd_people(path.stem)
                )
                found.append((path, "real" if label == "real" else "fake", people, method, level))
    if not found:
        raise ManifestError(
            f"{root} has no original_sequences/*/*/videos/*.mp4 or manipulated_sequences; name the folder that holds them"
        )
    if splits is None and (root / "splits").is_dir():
        splits = root / "splits"
    given = _published(splits) if splits else {}
    group = _joined(people for _, _, people, _, _ in found)
    items = [
        Item(
            path=str(path), label=label, identities=people, dataset="faceforensics", compression=level,
            method=method if label == "fake" else "", split=_split_of(people[0], group[people[0]], given),
        )
        for path, label, people, method, level in found
    ]  # fmt: skip
    check_leaks(items)
    return items


def _split_of(person: str, group: str, given: dict[str, Split]) -> Split:
    """As published; the actors of DeepFakeDetection are in no published list and are split by name."""
    if given and person.isdigit():
        return given.get(person, "unused")
    return split_of(group)


def celeb_df(root: Path) -> list[Item]:
    """Celeb-DF v1 and v2 (Li et al., CVPR 2020): ``Celeb-real``, ``YouTube-real``, ``Celeb-synthesis`` and the list of test videos.

    The publishers' list is ``test``. Of the rest nothing is used whose people are in the test list: the data set is small in
    people, so this leaves less to train on, and the check refuses anything else.

    Raises:
        ManifestError, LeakError
    """
    listing = root / "List_of_testing_videos.txt"
    try:
        lines = listing.read_text().split("\n")
    except OSError as error:
        raise ManifestError(
            f"{listing} cannot be read: {error.strerror}; it comes with Celeb-DF and says which videos test"
        ) from error
    tested = {line.split()[-1] for line in lines if line.strip()}
    found: list[tuple[Path, Label, tuple[str, ...], bool]] = []
    for folder, label in (("Celeb-real", "real"), ("YouTube-real", "real"), ("Celeb-synthesis", "fake")):
        for path in sorted((root / folder).glob("*.mp4")):
            people = tuple(re.findall(r"id\d+", path.stem)) or (f"youtube-{path.stem}",)
            found.append((path, "real" if label == "real" else "fake", people, f"{folder}/{path.name}" in tested))
    if not found:
        raise ManifestError(f"{root} has no videos in Celeb-real, YouTube-real or Celeb-synthesis")
    examined = {person for _, _, people, test in found if test for person in people}
    rest = _joined(people for _, _, people, test in found if not test and not examined & set(people))

    def split(people: tuple[str, ...], test: bool) -> Split:
        if test:
            return "test"
        if examined & set(people):
            return "unused"
        return "val" if split_of(rest[people[0]], test=0.0) == "val" else "train"

    items = [
        Item(
            path=str(path),
            label=label,
            identities=people,
            dataset="celeb_df",
            method="Celeb-synthesis" if label == "fake" else "",
            split=split(people, test),
        )
        for path, label, people, test in found
    ]
    check_leaks(items)
    return items


def dfdc(root: Path) -> list[Item]:
    """DFDC (Dolhansky et al. 2020): folders with ``metadata.json`` of ``{"name.mp4": {"label": "FAKE", "original": ...}}``.

    A fake belongs to its original's source; who is who beyond that the data do not say.

    Raises:
        ManifestError, LeakError
    """
    listings = sorted(root.rglob("metadata.json"))
    if not listings:
        raise ManifestError(f"{root} has no metadata.json; name the folder that holds DFDC's parts")
    items: list[Item] = []
    for listing in listings:
        try:
            entries = json.loads(listing.read_text())
            for name, facts in sorted(entries.items()):
                label: Label = {"FAKE": "fake", "REAL": "real"}[facts["label"]]  # type: ignore[assignment]
                source = facts.get("original") or name
                path = listing.parent / name
                if path.exists():
                    items.append(
                        Item(
                            path=str(path),
                            label=label,
                            identities=(source,),
                            dataset="dfdc",
                            method="dfdc" if label == "fake" else "",
                            split=split_of(source),
                        )
                    )
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ManifestError(f"{listing} cannot be read as DFDC's metadata: {error!r}") from error
    if not items:
        raise ManifestError(f"{root}: none of the videos that its metadata.json name lies beside them; unpack the videos there")
    check_leaks(items)
    return items


def table(path: Path) -> list[Item]:
    """A CSV with the columns ``path,label[,split][,identity][,dataset][,method][,compression]``; paths from the table's folder.

    Where no split is given, people who are in one video (``ann+bob``) get one split together, that of a row which has one if any.

    Raises:
        ManifestError, LeakError
    """
    rows: list[tuple[dict[str, str], tuple[str, ...]]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise ManifestError(
                    f"{path} lacks the column(s) {', '.join(sorted(missing))}; its first line must be path,label[,split,...]"
                )
            for row in reader:
                if not row["path"] or not row["label"]:
                    raise ManifestError(f"{path}, line {reader.line_num}: no path or no label; each line needs both")
                rows.append((row, tuple(row["identity"].split("+")) if row.get("identity") else (row["path"],)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    group = _joined(people for _, people in rows)
    given = {group[people[0]]: row["split"] for row, people in rows if row.get("split") and row["split"] != "unused"}
    items = [
        Item(
            path=str(path.parent / row["path"]), label=row["label"].strip().lower(), identities=people,  # type: ignore[arg-type]
            split=row.get("split") or given.get(group[people[0]]) or split_of(group[people[0]]),  # type: ignore[arg-type]
            # A name that a table gives is the same person in the next table.
            dataset=row.get("dataset") or ("table" if row.get("identity") else path.stem),
            method=row.get("method") or "", compression=row.get("compression") or "",
        )
        for row, people in rows
    ]  # fmt: skip
    if not items:
        raise ManifestError(f"{path} names no files")
    check_leaks(items)
    return items


def folders(root: Path) -> list[Item]:
    """``real/`` and ``fake/``, anything below them; each file is a source of its own unless it lies in a folder of its person.

    Raises:
        ManifestError, LeakError
    """
    items = []
    for label in ("real", "fake"):
        base = root / label
        for path in sorted(base.rglob("*")):
            if path.suffix.lower() in _VIDEO | PICTURE_SUFFIXES:
                relative = path.relative_to(base)
                identity = relative.parts[0] if len(relative.parts) > 1 else path.stem
                items.append(
                    Item(
                        path=str(path),
                        label="real" if label == "real" else "fake",
                        identities=(identity,),
                        dataset=root.name,
                        method="" if label == "real" else "unknown",
                        split=split_of(identity),
                    )
                )
    if not items:
        raise ManifestError(f"{root} has no videos or pictures in real/ or fake/")
    check_leaks(items)
    return items


READERS: dict[str, Callable[[Path], list[Item]]] = {
    "faceforensics": faceforensics, "celeb_df": celeb_df, "dfdc": dfdc, "table": table, "folders": folders,
}  # fmt: skip
"""Name -> reader of a folder or file."""


def _dfd_people(stem: str) -> tuple[str, ...]:
    """``01_02__walking__ABCDEFGH`` -> the two actors; originals have one."""
    return tuple(f"actor-{number}" for number in stem.split("__")[0].split("_"))


def _published(folder: Path) -> dict[str, Split]:
    """FaceForensics++'s train.json, val.json and test.json: lists of pairs."""
    given: dict[str, Split] = {}
    names: tuple[Split, ...] = ("train", "val", "test")
    for name in names:
        try:
            for pair in json.loads((folder / f"{name}.json").read_text()):
                given.update((person, name) for person in pair)
        except (OSError, ValueError, TypeError) as error:
            raise ManifestError(f"{folder / name}.json cannot be read: {error}") from error
    return given


def _joined(groups: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Person -> the first name of everybody that they are connected with through shared videos."""
    parent: dict[str, str] = {}

    def root(person: str) -> str:
        while parent.setdefault(person, person) != person:
            parent[person] = parent[parent[person]]
            person = parent[person]
        return person

    for people in groups:
        for person in people:
            a, b = root(people[0]), root(person)
            parent[max(a, b)] = min(a, b)
    return {person: root(person) for person in parent}
