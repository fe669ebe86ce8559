"""Result files: what is written is what the schema says, and is read back."""

import json
from pathlib import Path

import jsonschema
import pytest

from benchmarks.errors import OutputError, RecordError, ServerDied
from benchmarks.record import SCHEMA, Check, Record, Series, load
from benchmarks.running import keeping
from tests.conftest import ROOT

RECORD_SCHEMA = json.loads((ROOT / "benchmarks" / "record.schema.json").read_text())
RESULTS = [
    path
    for path in sorted((ROOT / "benchmarks" / "results").glob("**/*.json"))
    if json.loads(path.read_text()).get("schema") == SCHEMA
]


def record() -> Record:
    """A run with one series, one kept and one missed promise."""
    return Record(
        kind="frames",
        settings={"frames": [1, 2]},
        series=[Series(name="grpc T=1", unit="s", samples=[0.01, 0.02, 0.015], labels={"path": "grpc", "frames": 1})],
        checks=[
            Check(name="fast", value=1.0, relation=">=", limit=0.5),
            Check(name="small", value=1.0, relation="<=", limit=0.5),
        ],
    )


def test_a_record_is_valid_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    original = record()
    original.save(path)
    content = json.loads(path.read_text())
    jsonschema.validate(content, RECORD_SCHEMA)
    assert [check["passed"] for check in content["checks"]] == [True, False]
    assert load(path).to_dict() == content
    assert len(list(path.parent.iterdir())) == 1, "no draft is left"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_the_results_in_git_are_valid(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), RECORD_SCHEMA)
    assert load(path).series


@pytest.mark.parametrize("content", ["", "[]", '{"schema": "another/1"}', '{"schema": "unmask.bench/1"}'])
def test_files_that_are_no_results_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"file\.json"):
        load(path)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [(KeyboardInterrupt(), "interrupted", "SIGINT"), (ServerDied("it ended"), "partial", "it ended")],
    ids=["interrupt", "server died"],
)
def test_what_was_measured_is_kept(error: BaseException, state: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    kept = record()
    with keeping(kept, path):
        raise error
    content = json.loads(path.read_text())
    jsonschema.validate(content, RECORD_SCHEMA)
    assert content["state"] == state
    assert reason in content["reason"]
    assert content["series"][0]["samples"] == [0.01, 0.02, 0.015]


def test_another_error_is_raised_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(ZeroDivisionError), keeping(record(), path):
        raise ZeroDivisionError("a mistake")
    assert load(path).state == "partial"


def test_a_result_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OutputError, match="could not be written"), keeping(record(), folder / "run.json"):
        folder.rename(tmp_path / "moved").joinpath("..", "folder").write_text("in the way")


def test_a_sample_that_is_no_number_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    record().save(path)
    path.write_text(path.read_text().replace("0.015", "null"))
    with pytest.raises(RecordError, match="no number"):
        load(path)
