"""The commands, and evaluation as served, on made clips."""

import csv
import json
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from client import Detector
from serving import EmbeddedTriton
from tests.clips import make_clips
from training import collect as collecting
from training.command_line import read_items
from training.commands import _phases, train
from training.errors import EmptyClassError, EvaluationError, PictureError
from training.evaluate_commands import evaluate
from training.landmarks import default_mean_face
from training.manifest import Item, Label, read_manifest
from training.served import Row, ServedEvaluation, evaluate_served, summary, write_report
from training.shards import Record, read_shards, write_shard
from training.video_files import reencode, variant_of


def item(path: Path, label: Label, person: str) -> Item:
    return Item(
        path=str(path),
        label=label,
        split="test",
        identities=(person,),
        dataset="made",
        method="" if label == "real" else "made",
    )


def test_files_are_measured_as_they_are_served(triton: EmbeddedTriton, tmp_path: Path) -> None:
    clips = make_clips(tmp_path, ["one_face.mp4", "two_faces.mp4", "no_face.mp4"])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    items = [
        item(clips["one_face.mp4"], "real", "ann"), item(clips["two_faces.mp4"], "fake", "bob"),
        item(clips["no_face.mp4"], "real", "cat"), item(tmp_path / "broken.mp4", "fake", "dan"),
    ]  # fmt: skip
    outcome = evaluate_served(Detector(triton.grpc_url), items, variants=("original", "half"), frames=(4, 8))
    assert len(outcome.rows) == 16
    scored = [row for row in outcome.rows if row.score is not None]
    assert {row.path for row in scored} == {"one_face.mp4", "two_faces.mp4"}
    reasons = outcome.not_evaluated()
    assert reasons["unsupported_media"] == reasons["undecodable"] == 2
    # What cannot be decoded is counted under its reason, in each variant and length.
    assert sum(outcome.not_evaluated().values()) == 8
    figures = outcome.figures()
    assert figures is not None
    # Each file once, however many variants and lengths there are.
    assert len(scored) == 8
    assert (figures.real, figures.fake) == (1, 1)
    by = outcome.as_dict()["by"]
    assert {name: part["figures"]["count"] for name, part in by["variant"].items()} == {"original": 2, "half": 2}
    assert {name: part["figures"]["count"] for name, part in by["frames"].items()} == {"4": 2, "8": 2}
    page = write_report(tmp_path / "out", {"reference": outcome})
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(data["rows"]["reference"]) == 16
    assert "data:image/png;base64," in page.read_text()
    assert "not evaluated 8" in summary(outcome)


def test_methods_are_told_from_the_genuine_files_of_their_data_set() -> None:
    def row(label: str, dataset: str, method: str, compression: str, score: float) -> Row:
        return Row(
            path="a.mp4", label=label, identity=f"{dataset} {score}", person=f"{dataset} {score}", dataset=dataset, method=method,
            compression=compression, variant="original", frames=8, score=score, verdict="", reason="",
        )  # fmt: skip

    outcome = ServedEvaluation(model={}, profile="reference", threshold=0.5)
    outcome.rows = [
        row("real", "one", "", "c23", 0.1), row("fake", "one", "swap", "c23", 0.9), row("fake", "one", "talk", "c40", 0.05),
        row("real", "two", "", "c40", 0.8),
    ]  # fmt: skip
    by = outcome.as_dict()["by"]
    # The genuine file of the other data set scores higher than one of the fakes here, and does not count.
    assert by["method"]["swap"]["figures"]["auc"]["value"] == 1.0
    assert by["method"]["talk"]["figures"]["auc"]["value"] == 0.0
    assert by["method"]["swap"]["figures"]["count"] == 2
    assert {name: entry["figures"]["count"] for name, entry in by["compression"].items()} == {"c23": 2, "c40": 2}


def test_a_root_keeps_the_folders_of_a_tables_paths(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,identity\nann/1.mp4,real,ann\nbob/1.mp4,real,bob\n")
    items = read_items([f"table:{tmp_path / 't.csv'}"], tmp_path / "films")
    assert [Path(item.path) for item in items] == [tmp_path / "films" / "ann" / "1.mp4", tmp_path / "films" / "bob" / "1.mp4"]


def test_no_files_is_an_error(triton: EmbeddedTriton) -> None:
    with pytest.raises(EvaluationError, match="check the split"):
        evaluate_served(Detector(triton.grpc_url), [])


def test_an_unknown_variant_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="crf23, crf32, crf40, half, quarter"):
        variant_of(tmp_path / "a.mp4", "crf99", tmp_path)


def test_collect_keeps_faces_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, ["one_face.mp4", "no_face.mp4"])
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [
                ["path", "label", "split", "identity"],
                [clips["one_face.mp4"].name, "real", "train", "ann"],
                ["no_face.mp4", "real", "val", "bob"],
            ]
        )
    result = CliRunner().invoke(
        train, ["collect", "--out", str(tmp_path / "data"), "--data", f"table:{tmp_path / 'clips.csv'}", "--frames", "3"]
    )
    assert result.exit_code == 0, result.output
    assert "3 faces of 2 files; left out: {'no_face': 1}" in result.output
    records = read_shards((tmp_path / "data").glob("videos-*.npz"))
    assert {(record.identity, record.split, record.label) for record in records} == {("ann", "train", "real")}
    assert all(record.from_video for record in records)
    assert [Path(item.path).name for item in read_manifest(tmp_path / "data" / "manifest.jsonl")] == [
        "one_face.mp4",
        "no_face.mp4",
    ]
    assert all(Path(item.path).exists() for item in read_manifest(tmp_path / "data" / "manifest.jsonl"))


def test_collecting_goes_on_where_it_was_stopped_and_forgets_other_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "BLOCK_FILES", 1)
    clips = make_clips(tmp_path, ["one_face.mp4", "two_faces.mp4"])
    items = [item(clips["one_face.mp4"], "real", "ann"), item(clips["two_faces.mp4"], "real", "bob")]
    mean, folder = default_mean_face(), tmp_path / "data"
    first = collecting.video_shards(items[:1], mean, folder, frames=2)
    (kept,) = folder.iterdir()
    changed = kept.stat().st_mtime_ns
    both = collecting.video_shards(items, mean, folder, frames=2)
    assert (first.faces, both.faces) == (2, 4)
    assert kept.stat().st_mtime_ns == changed
    assert collecting.video_shards(items[1:], mean, folder, frames=2).faces == 2
    assert not kept.exists()
    assert len(list(folder.iterdir())) == 1


def test_no_face_in_any_file_says_why(tmp_path: Path) -> None:
    missing = item(tmp_path / "gone.mp4", "real", "ann")
    with pytest.raises(EmptyClassError, match=r"no face in any of 1 files: \{'not_found': 1\}"):
        collecting.video_shards([missing], default_mean_face(), tmp_path, frames=2)


def test_nothing_evaluated_is_no_success(triton: EmbeddedTriton, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,split,identity\ngone.mp4,real,test,ann\n")
    arguments = ["files", "--data", f"table:{tmp_path / 't.csv'}", "--url", triton.grpc_url, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 1
    assert "none of 1 files was evaluated (not_found)" in result.output
    assert CliRunner().invoke(evaluate, [*arguments, "--variant", "crf28"]).exit_code == 2


def test_a_video_is_encoded_anew_whole_and_as_fast(tmp_path: Path) -> None:
    clip = make_clips(tmp_path, ["one_face.mp4"])["one_face.mp4"]
    made = reencode(clip, tmp_path / "again.mp4", crf=32, scale=0.5)
    with av.open(str(clip)) as before, av.open(str(made)) as after:
        a, b = before.streams.video[0], after.streams.video[0]
        assert b.average_rate == a.average_rate
        assert b.width == a.width // 2
        assert sum(1 for _ in after.decode(b)) == sum(1 for _ in before.decode(a))


def test_what_is_no_video_cannot_be_encoded_anew(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "gone.mp4"):
        with pytest.raises(PictureError, match=f"{name} cannot be decoded to be encoded anew"):
            reencode(tmp_path / name, tmp_path / "again.mp4", crf=32)


def test_a_full_disk_is_named_while_encoding_anew(tmp_path: Path) -> None:
    clip = make_clips(tmp_path, ["one_face.mp4"])["one_face.mp4"]
    (tmp_path / "again.mp4").symlink_to("/dev/full")
    with pytest.raises(EvaluationError, match=r"does not fit on .*; set TMPDIR"):
        reencode(clip, tmp_path / "again.mp4", crf=10)


def test_a_leak_ends_collecting_with_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,split,identity\na.mp4,real,train,ann\nb.mp4,fake,test,ann\n")
    result = CliRunner().invoke(train, ["collect", "--out", str(tmp_path / "data"), "--data", f"table:{tmp_path / 't.csv'}"])
    assert result.exit_code == 1
    assert "table/ann is in train" in result.output


@pytest.mark.parametrize(
    "phase", ["1,2", "10,48,0,1,0", "10,50,4,1,0", "10,48,4,1,0,2", "10,48,4,1,1-2,1", "10,48,4,1,1-0-1-1,1", "a,b,c,d,e"]
)
def test_a_wrong_phase_is_a_usage_error(tmp_path: Path, phase: str) -> None:
    result = CliRunner().invoke(train, ["fit", "--shards", str(tmp_path), "--run", str(tmp_path / "run"), "--phase", phase])
    assert result.exit_code == 2
    assert phase in result.output


def test_blocks_are_given_for_all_layers_or_for_each() -> None:
    phases = _phases(["1,48,4,1,0,1", "1,48,4,1,2,1", "1,48,4,1,1-2-2-1,1", "1,48,4,1,0"])
    assert [phase.blocks for phase in phases] == [(), (2, 2, 2, 2), (1, 2, 2, 1), ()]


def test_clips_that_cannot_be_written_are_an_error_without_a_traceback(records: list[Record], tmp_path: Path) -> None:
    write_shard(tmp_path / "data" / "a.npz", records)
    (tmp_path / "taken").write_text("a file where a folder is asked for")
    out = tmp_path / "taken" / "clips"
    result = CliRunner().invoke(evaluate, ["make-clips", "--shards", str(tmp_path / "data"), "--out", str(out), "--pairs", "1"])
    assert result.exit_code == 1
    assert "unmask evaluate make-clips:" in result.output


def test_made_clips_are_files_with_a_table(records: list[Record], tmp_path: Path) -> None:
    write_shard(tmp_path / "data" / "a.npz", records)
    result = CliRunner().invoke(
        evaluate,
        ["make-clips", "--shards", str(tmp_path / "data"), "--out", str(tmp_path / "clips"), "--pairs", "2", "--frames", "4"],
    )
    assert result.exit_code == 0, result.output
    with (tmp_path / "clips" / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["method"]) for row in rows] == [
        ("real", ""),
        ("fake", "self_blend"),
        ("real", ""),
        ("fake", "swap"),
    ]
    assert all((tmp_path / "clips" / row["path"]).stat().st_size > 1000 for row in rows)
