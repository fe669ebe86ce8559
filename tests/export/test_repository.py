"""What is written, under which names, and that nothing half-written is ever seen."""

import dataclasses
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from export.build import Int8Source
from export.contents import content_of, detectors, latest_version
from export.default_detector import untrained_detector
from export.errors import RepositoryBusy, RepositoryError
from export.locks import exporting
from export.model_configs import from_text
from export.place import staging_for, swap_in, sweep
from export.repository import remove_detector, write_detector
from serving.repository import check_repository, models_to_load
from tests.conftest import ROOT

_FILE_LIMIT_BYTES = 40 * 2**20
"""Of a process that a disk full is shown to: less than the encoder's fp32 graph."""


def copy_of(repository: Path, target: Path) -> Path:
    return Path(shutil.copytree(repository, target, copy_function=os.link, ignore=shutil.ignore_patterns(".*")))


def listing(repository: Path) -> dict[str, int]:
    """Every file but locks, and the inode that it is."""
    return {
        str(path.relative_to(repository)): path.stat().st_ino
        for path in sorted(repository.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_the_built_repository_has_every_precision(repository: Path) -> None:
    encoder = repository / "frame_encoder"
    files = {path.name for path in (encoder / str(latest_version(encoder))).iterdir()}
    assert files >= {"model.onnx", "model.fp16.onnx", "content.json"}
    assert content_of(encoder)
    (default,) = [found for found in detectors(repository) if found.info.detector == "deepfake_detector"]
    assert default.models == ("frame_encoder", "clip_head")


def test_a_second_detector_of_the_same_graphs_stores_none(repository: Path, tmp_path: Path) -> None:
    mine = copy_of(repository, tmp_path / "repository")
    encoder, head, info = untrained_detector()
    before = listing(mine)
    models = {path.name for path in mine.iterdir() if path.is_dir()}
    twin = dataclasses.replace(info, detector="twin", threshold=0.6, abstain_low=0.6, abstain_high=0.6)
    written = write_detector(encoder, head, twin, mine)
    assert written.models == ("frame_encoder", "clip_head", "twin")
    assert {path.name for path in mine.iterdir() if path.is_dir()} - models == {"twin"}
    again = write_detector(encoder, head, dataclasses.replace(twin, threshold=0.7, abstain_high=0.7), mine)
    assert (again.version, latest_version(mine / "twin")) == (2, 2)
    assert not (mine / "twin" / "1").exists()
    assert remove_detector("twin", mine) == ("twin",)
    assert listing(mine) == before
    with pytest.raises(RepositoryError, match="has no detector 'twin'; it has deepfake_detector"):
        remove_detector("twin", mine)


def test_two_exports_at_once(tmp_path: Path, repository: Path) -> None:
    mine = copy_of(repository, tmp_path / "repository")
    holder = (
        "import sys, pathlib; from export.locks import exporting\n"
        "with exporting(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(mine)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RepositoryBusy, match=rf"another export \(process {other.pid}\) is writing"):
            write_detector(*untrained_detector(), mine)
    finally:
        other.kill()
        other.communicate()
    with exporting(mine):
        pass  # the lock of a killed export is gone with it
    assert listing(mine) == listing(repository)


def test_a_full_disk_changes_nothing(tmp_path: Path, repository: Path) -> None:
    mine = copy_of(repository, tmp_path / "repository")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, _FILE_LIMIT_BYTES))

    code = (
        "import dataclasses, pathlib, sys; from export.default_detector import untrained_detector as u; "
        "from export.repository import write_detector as w; from export.build import Int8Source as S; e, h, i = u(); "
        "w(e, h, dataclasses.replace(i, detector='new', max_frames=128), pathlib.Path(sys.argv[1]), int8=S(wanted=False))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mine)], cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    assert "RepositoryError: cannot write to" in done.stderr
    assert "File too large; nothing was changed" in done.stderr
    assert listing(mine) == listing(repository)
    assert [path.name for path in tmp_path.iterdir()] == ["repository"], "what was staged is gone"


def test_a_disk_that_is_too_small_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit is raised instead of the disk filled: every disk is too small for a petabyte to spare.
    monkeypatch.setattr("export.repository.SPARE_BYTES", 2**60)
    with pytest.raises(RepositoryError, match=r"MiB of free disk, this export needs \d+ MiB; nothing was changed"):
        write_detector(*untrained_detector(), tmp_path / "repository", int8=Int8Source(wanted=False))


def consistent_score(repository: Path) -> float:
    """What a server that starts on these files says of one clip, computed by the graphs that the default detector names."""
    check_repository(repository)
    assert set(models_to_load(repository, explainer=False)) <= {path.name for path in repository.iterdir()}
    (default,) = [found for found in detectors(repository) if found.info.detector == "deepfake_detector"]
    features: Any = np.zeros((2, 112, 112, 3), np.uint8)
    for name, output in zip(default.models, ("FEATURES", "CLIP_PROBABILITY"), strict=True):
        folder = repository / name / str(latest_version(repository / name))
        assert from_text((repository / name / "config.pbtxt").read_text()).name == name
        session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        (features,) = session.run([output], {session.get_inputs()[0].name: features})
    return float(features[0])


def test_whoever_opens_the_repository_while_the_default_detector_is_replaced_finds_a_whole_one(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder and head both change, in place. After each step the files are copied: that is what kill -9 leaves at that moment."""
    mine = copy_of(repository, tmp_path / "mine")
    left: list[Path] = []

    def watched(new: Path, old: Path) -> None:
        swap_in(new, old)
        left.append(copy_of(mine, tmp_path / f"killed-{len(left)}"))

    encoder, head, info = untrained_detector()
    with torch.no_grad():
        encoder.backbone.conv1.weight.mul_(1.5)
        head.linear1.weight.mul_(-3)
    facts = dataclasses.replace(info, threshold=0.6, abstain_low=0.6, abstain_high=0.6)
    before = consistent_score(mine)
    monkeypatch.setattr("export.repository.swap_in", watched)
    written = write_detector(encoder, head, facts, mine, int8=Int8Source(wanted=False))
    monkeypatch.undo()
    after = consistent_score(mine)
    assert written.models == ("frame_encoder", "clip_head", "deepfake_detector")
    assert abs(after - before) > 0.01, "the two must differ, or this test shows nothing"
    scores = [consistent_score(path) for path in left]
    assert len(scores) == 6, "two twins, the ensemble over them, two models, the ensemble"
    assert all(min(abs(score - before), abs(score - after)) < 1e-6 for score in scores), (before, after, scores)
    assert {path.name for path in mine.iterdir() if path.is_dir()} == {
        path.name for path in repository.iterdir() if path.is_dir()
    }
    # The worst of them, one model replaced and the twins in use: the next export tidies up.
    again = left[3]
    write_detector(encoder, head, facts, again, int8=Int8Source(wanted=False))
    assert consistent_score(again) == pytest.approx(after, abs=1e-6)
    used = {model for found in detectors(again) for model in found.models}
    built = {path.name for path in again.glob("frame_encoder*")} | {path.name for path in again.glob("clip_head*")}
    assert built - used <= {"frame_encoder", "clip_head"}, "no twin is left that nothing uses"


def test_a_model_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    _, _, info = untrained_detector()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.pbtxt").write_text('name: "theirs" backend: "onnxruntime"\n')
    with pytest.raises(RepositoryError, match="has a model 'theirs' that is no detector, and it is not overwritten"):
        write_detector(
            *untrained_detector()[:2], dataclasses.replace(info, detector="theirs"), tmp_path, int8=Int8Source(wanted=False)
        )
    assert (tmp_path / "theirs" / "config.pbtxt").read_text().startswith('name: "theirs"')


def test_a_repository_that_is_a_volume_of_its_own(tmp_path: Path) -> None:
    """A small file system mounted on the repository, in a namespace of the child's own: what does not fit is said before, what is made
    is made on that file system, where a rename reaches, and is no model."""
    code = (
        "import pathlib, sys; from export.place import staging_for; from export.repository import write_detector as w\n"
        "from export.default_detector import untrained_detector as u; from serving.repository import models_to_load\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with staging_for(path) as staging:\n"
        "    (staging / 'clip_head' / '1').mkdir(parents=True); (staging / 'clip_head' / 'config.pbtxt').touch()\n"
        "    print(models_to_load(path, explainer=True), flush=True)\n"
        "    (staging / 'clip_head').rename(path / 'clip_head')\n"
        "print(sorted(item.name for item in path.iterdir()), flush=True)\n"
        "import shutil; shutil.rmtree(path / 'clip_head'); w(*u(), path)"
    )
    (tmp_path / "volume").mkdir()
    mount = 'mount -t tmpfs -o size=16m none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    probe = subprocess.run([*command[:4], "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"this machine lets nobody mount in a namespace of their own: {probe.stderr.strip()}")
    done = subprocess.run([*command, str(tmp_path / "volume"), sys.executable, code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "['clip_head']"], done.stderr
    assert "RepositoryError:" in done.stderr
    assert "MiB of free disk, this export needs" in done.stderr


def test_what_a_killed_export_left_is_swept_up(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    with staging_for(tmp_path / "repository") as staging:
        (staging / "frame_encoder").mkdir()
        beside = tmp_path / "repository-2"
        beside.mkdir()
        with staging_for(beside) as another:
            assert (staging / "frame_encoder").is_dir(), "another repository's export leaves this one alone"
            assert another != staging
    staging.mkdir()
    (staging / "left").touch()
    with staging_for(tmp_path / "repository") as staging:
        assert not list(staging.iterdir())
    mine = copy_of(repository, tmp_path / "mine")
    twin = mine / "clip_head_0123456789ab"
    shutil.copytree(mine / "clip_head", twin)
    shutil.copytree(mine / "clip_head", mine / "clip_head_of_somebody_else")
    sweep(mine, "frame_encoder", "clip_head")
    assert not twin.exists()
    assert (mine / "clip_head_of_somebody_else").is_dir()
    assert (
        listing(mine).keys() - {str(path) for path in listing(mine) if path.startswith("clip_head_of")}
        == listing(repository).keys()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.pt", "--classes", "real,fake"], 1, "nothing.pt cannot be read: No such file"),
        (["a.pt", "b.pt", "--name", "x"], 2, "--name belongs to one checkpoint, 2 were given"),
        (["--trained-frames", "ten"], 2, "no list of whole numbers"),
        (
            ["--name", "mine", "--classes", "real,fake", "--image-size", "224"],
            2,
            "--name, --classes, --image-size: for a CHECKPOINT, and none was given",
        ),
        (["--no-int8", "--save-calibration", "x"], 2, "--no-int8 contradicts"),
        (["--url", "127.0.0.1:1"], 3, "no server answers at"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unmask", "export", "--repository", str(tmp_path / "repository"), *arguments],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "repository").glob("*"))
