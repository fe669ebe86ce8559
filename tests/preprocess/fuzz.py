"""Damaged files by the thousand: ``python -m tests.preprocess.fuzz --files 1000 --seed 1``.

Each is a made clip or picture with bits flipped, an end cut off, a piece zeroed, repeated or moved, or the head of another
file. Whatever happens, the parent lives, each file ends in a result or a typed error within its limit, and no file is left.
"""

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from preprocess import Extraction, ExtractionOptions, Preprocessor, PreprocessSettings
from preprocess.worker_process import GRACE_S
from tests.clips import astronaut, make_clips

SOURCES = (
    "one_face.mov", "one_face.mkv", "one_face.3gp", "one_face_hevc.mp4", "one_face_vp9.webm", "one_face_vp8.webm",
    "one_face_av1.mkv", "one_face_mpeg4.avi", "one_face_mpeg1.mpg", "one_face.wmv", "one_face.flv", "one_face.gif",
    "ten_bit.mp4", "variable_rate.mkv", "sideways.mp4",
)  # fmt: skip
OPTIONS = ExtractionOptions(image_size_px=112, crop_margin=1.3, frames=6)
MUTATIONS = ("flip_bits", "flip_bits_in_head", "cut_off", "zero", "repeat", "move", "swap_head")


def mutate(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """One kind of damage, chosen by ``chance``; its name and the damaged bytes."""
    kind = chance.choice(MUTATIONS)
    damaged = bytearray(data)
    length = len(data)
    start = chance.randrange(length)
    size = chance.randrange(1, max(2, length // 8))
    if kind == "flip_bits":
        for _ in range(chance.choice((1, 8, 64, 512))):
            damaged[chance.randrange(length)] ^= 1 << chance.randrange(8)
    elif kind == "flip_bits_in_head":
        for _ in range(chance.choice((1, 4, 16))):
            damaged[chance.randrange(min(length, 1024))] ^= 1 << chance.randrange(8)
    elif kind == "cut_off":
        del damaged[start:]
    elif kind == "zero":
        damaged[start : start + size] = bytes(len(damaged[start : start + size]))
    elif kind == "repeat":
        damaged[start:start] = damaged[start : start + size]
    elif kind == "move":
        piece = damaged[start : start + size]
        del damaged[start : start + size]
        at = chance.randrange(len(damaged) + 1)
        damaged[at:at] = piece
    else:
        head = chance.choice((16, 64, 512, 4096))
        damaged[:head] = other[:head]
    return kind, bytes(damaged)


def pictures() -> dict[str, bytes]:
    """The portrait as image files."""
    found = {}
    for kind in ("jpeg", "png", "webp", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(astronaut()[:256, 100:356]).save(buffer, kind)
        found[f"portrait.{kind}"] = buffer.getvalue()
    return found


def run(files: int, seed: int, sources: dict[str, bytes], *, max_wall_s: float = 10.0) -> dict[str, Any]:
    """Reads ``files`` damaged files and counts what came of them."""
    chance = random.Random(seed)
    names = sorted(sources)
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    slowest_s = 0.0
    late: list[str] = []
    with tempfile.TemporaryDirectory(prefix="unmask-fuzz-") as work:
        scratch, place = Path(work, "tmp"), Path(work, "in")
        scratch.mkdir()
        place.mkdir()
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = None
        try:
            with Preprocessor(PreprocessSettings(max_wall_s=max_wall_s)) as preprocessor:
                preprocessor.start()
                for number in range(files):
                    name, other = chance.choice(names), chance.choice(names)
                    kind, data = mutate(sources[name], sources[other], chance)
                    path = place / f"{number:05d}_{kind}_{name}"
                    path.write_bytes(data)
                    start = time.monotonic()
                    # extract_all turns typed errors into values; anything else comes out here and ends the run.
                    ((_, result),) = preprocessor.extract_all([path], OPTIONS)
                    took_s = time.monotonic() - start
                    path.unlink()
                    slowest_s = max(slowest_s, took_s)
                    # A child that had to be replaced starts within the next file's time.
                    if took_s > max_wall_s + GRACE_S + 5.0:
                        late.append(path.name)
                    kinds[kind] += 1
                    outcomes["result" if isinstance(result, Extraction) else result.code] += 1
            left = sorted(str(path.relative_to(work)) for path in Path(work).rglob("*") if path.is_file())
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
            tempfile.tempdir = None
    return {
        "files": files,
        "seed": seed,
        "mutations": dict(kinds),
        "outcomes": dict(outcomes),
        "slowest_s": round(slowest_s, 3),
        "over_the_limit": late,
        "files_left": left,
    }


def main() -> int:
    """Prints the counts as JSON; exit code 1 when a limit was passed or a file left."""
    parser = argparse.ArgumentParser(description="Reads damaged files and counts what comes of them.")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unmask-clips-") as folder:
        clips = make_clips(Path(folder), list(SOURCES))
        sources = {name: path.read_bytes() for name, path in clips.items()} | pictures()
    counts = run(arguments.files, arguments.seed, sources)
    sys.stdout.write(json.dumps(counts, indent=1) + "\n")
    return 1 if counts["over_the_limit"] or counts["files_left"] else 0


if __name__ == "__main__":
    sys.exit(main())
