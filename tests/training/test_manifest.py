"""Lists of files, and that no split leaks into another."""

import json
from pathlib import Path

import pytest

from training.command_line import read_items
from training.errors import LeakError, ManifestError
from training.manifest import Item, check_leaks, check_people, read_manifest, write_manifest
from training.readers import celeb_df, dfdc, faceforensics, folders, split_of, table


def item(path: str, split: str = "train", *people: str, label: str = "real") -> Item:
    return Item(path=path, label=label, split=split, identities=people or (path,), dataset="d")  # type: ignore[arg-type]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_a_manifest_reads_back_with_paths_from_its_own_folder(tmp_path: Path) -> None:
    items = [item("a.mp4", "train", "ann"), item("b.mp4", "test", "bob", label="fake")]
    write_manifest(tmp_path / "m.jsonl", items)
    read = read_manifest(tmp_path / "m.jsonl")
    assert [(Path(i.path), i.label, i.split, i.identities) for i in read] == [
        (tmp_path / "a.mp4", "real", "train", ("ann",)),
        (tmp_path / "b.mp4", "fake", "test", ("bob",)),
    ]


def test_one_identity_on_both_sides_is_refused_by_name() -> None:
    with pytest.raises(LeakError, match=r"d/ann is in train \(a\.mp4\) and test \(b\.mp4\)"):
        check_leaks([item("a.mp4", "train", "ann"), item("b.mp4", "test", "bob", "ann")])


def test_one_file_on_both_sides_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(LeakError, match=r"a\.mp4"):
        check_leaks([item(str(tmp_path / "a.mp4"), "train", "ann"), item(str(tmp_path / "link.mp4"), "val", "bob")])


def test_unused_files_do_not_leak() -> None:
    check_leaks([item("a.mp4", "unused", "ann"), item("b.mp4", "test", "ann")])


def test_people_of_pictures_that_were_cut_out_are_checked_too() -> None:
    rows = [("d", ("ann", "bob"), "train", "1.mp4"), ("d", ("cat",), "test", "2.mp4")]
    check_people(rows)
    # The same name in another data set is somebody else.
    check_people([*rows, ("other", ("bob",), "test", "3.mp4")])
    with pytest.raises(LeakError, match=r"d/bob is in train \(1\.mp4\) and val \(3\.mp4\)"):
        check_people([*rows, ("d", ("bob",), "val", "3.mp4")])


@pytest.mark.parametrize(
    "line", ["{", '{"path": "a"}', '{"path":"a","label":"maybe","split":"train","identities":["x"],"dataset":"d"}', "7"]
)
def test_a_wrong_line_is_a_manifest_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(ManifestError, match=r"a line is a JSON object|label is 'maybe'"):
        read_manifest(tmp_path / "m.jsonl")


def test_splits_follow_from_names_alone() -> None:
    assert {split_of(f"p{n}") for n in range(100)} == {"train", "val", "test"}
    assert [split_of(f"p{n}") for n in range(20)] == [split_of(f"p{n}") for n in range(20)]


def test_faceforensics_joins_people_who_were_swapped(tmp_path: Path) -> None:
    real, fake = "original_sequences/youtube/c23/videos", "manipulated_sequences/{}/c23/videos"
    names = [f"{real}/{n:03d}.mp4" for n in range(40)]
    names += [
        f"{fake.format(method)}/{n:03d}_{n + 1:03d}.mp4" for n in range(0, 40, 2) for method in ("Deepfakes", "NeuralTextures")
    ]
    items = faceforensics(touch(tmp_path, *names))
    assert len(items) == 80
    assert {i.method for i in items if i.label == "fake"} == {"Deepfakes", "NeuralTextures"}
    assert {i.compression for i in items} == {"c23"}
    split = {i.identities[0]: i.split for i in items if i.label == "real"}
    assert all(split[i.identities[0]] == split[i.identities[1]] == i.split for i in items if i.label == "fake")
    assert len(set(split.values())) > 1


def test_faceforensics_published_splits_win(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "original_sequences/youtube/c40/videos/000.mp4",
        "original_sequences/youtube/c40/videos/001.mp4",
        "original_sequences/youtube/c40/videos/002.mp4",
    )
    for name, pairs in (("train", [["000", "003"]]), ("val", [["001", "004"]]), ("test", [["009", "008"]])):
        (tmp_path / f"{name}.json").write_text(json.dumps(pairs))
    items = faceforensics(tmp_path, splits=tmp_path, compression="c40")
    assert [i.split for i in items] == ["train", "val", "unused"]


def test_faceforensics_splits_beside_the_videos_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "original_sequences/youtube/c23/videos/000.mp4", "original_sequences/youtube/c23/videos/001.mp4")
    (tmp_path / "splits").mkdir()
    for name, pairs in (("train", [["001", "003"]]), ("val", [["000", "004"]]), ("test", [["009", "008"]])):
        (tmp_path / "splits" / f"{name}.json").write_text(json.dumps(pairs))
    assert [i.split for i in faceforensics(tmp_path)] == ["val", "train"]


def test_celeb_df_uses_nobody_of_the_test_list_for_training(tmp_path: Path) -> None:
    touch(
        tmp_path, "Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "Celeb-real/id2_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id2_id3_0000.mp4", "YouTube-real/00170.mp4",
    )  # fmt: skip
    (tmp_path / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n1 YouTube-real/00170.mp4\n")
    split = {Path(i.path).name: i.split for i in celeb_df(tmp_path)}
    assert split["id0_0000.mp4"] == split["00170.mp4"] == "test"
    assert split["id0_id1_0000.mp4"] == "unused"
    assert split["id2_0000.mp4"] == split["id2_id3_0000.mp4"] in ("train", "val")


def test_dfdc_keeps_a_fake_with_its_original(tmp_path: Path) -> None:
    touch(tmp_path, "part/a.mp4", "part/b.mp4")
    (tmp_path / "part/metadata.json").write_text(
        json.dumps({"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": "a.mp4"}, "gone.mp4": {"label": "REAL"}})
    )
    a, b = dfdc(tmp_path)
    assert (a.label, b.label, a.split) == ("real", "fake", b.split)


def test_dfdc_without_its_videos_is_a_manifest_error(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}}))
    with pytest.raises(ManifestError, match="unpack the videos"):
        dfdc(tmp_path)


def test_a_table_with_a_leak_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,split,identity\na.mp4,real,train,ann\nb.mp4,fake,test,ann\n")
    with pytest.raises(LeakError):
        table(tmp_path / "t.csv")


def test_a_name_is_the_same_person_in_another_table(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label,split,identity\na.mp4,real,train,ann\n")
    (tmp_path / "test.csv").write_text("path,label,split,identity\nb.mp4,real,test,ann\n")
    with pytest.raises(LeakError, match="ann is in train"):
        read_items([f"table:{tmp_path / 'train.csv'}", f"table:{tmp_path / 'test.csv'}"])


def test_a_table_keeps_people_together_who_were_swapped(tmp_path: Path) -> None:
    lines = [f"{n}.mp4,real,p{n}" for n in range(30)] + [f"s{n}.mp4,fake,p{n}+p{n + 1}" for n in range(0, 30, 2)]
    (tmp_path / "t.csv").write_text("path,label,identity\n" + "\n".join(lines) + "\n")
    items = table(tmp_path / "t.csv")
    split = {i.identities[0]: i.split for i in items if i.label == "real"}
    assert all(split[a] == split[b] == i.split for i in items if i.label == "fake" for a, b in [i.identities])
    assert len(set(split.values())) > 1


def test_a_split_that_a_table_gives_holds_for_everybody_who_was_swapped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,split,identity\na.mp4,real,test,ann\nb.mp4,fake,,bob+ann\nc.mp4,real,,bob\n")
    assert [i.split for i in table(tmp_path / "t.csv")] == ["test"] * 3


def test_a_line_without_a_label_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.mp4,real\nb.mp4\n")
    with pytest.raises(ManifestError, match="line 3: no path or no label"):
        table(tmp_path / "t.csv")


def test_a_table_without_its_columns_says_which(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,label\na.mp4,real\n")
    with pytest.raises(ManifestError, match="lacks the column"):
        table(tmp_path / "t.csv")


def test_folders_take_a_persons_folder_as_identity(tmp_path: Path) -> None:
    items = folders(touch(tmp_path, "real/ann/1.mp4", "real/ann/2.jpg", "fake/x.mp4", "real/notes.txt"))
    assert [(i.label, i.identities) for i in items] == [("real", ("ann",)), ("real", ("ann",)), ("fake", ("x",))]


@pytest.mark.parametrize("reader", [faceforensics, celeb_df, dfdc, folders])
def test_an_empty_folder_is_a_manifest_error(tmp_path: Path, reader: object) -> None:
    with pytest.raises(ManifestError, match=str(tmp_path)):
        reader(tmp_path)  # type: ignore[operator]
