import copy
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from referencing import Registry, Resource

from client.judge import label_of, missing_face_reason
from client.model_info import ModelInfo
from client.results import Failure, Result, results_schema, to_document
from client.verdict import (
    FrameScore,
    Label,
    Preprocessing,
    Reason,
    ServedModel,
    TrackVerdict,
    Verdict,
    VerdictError,
    verdict_schema,
)
from client.wording import explanation, headline, limits, number, printable
from preprocess import Dropped, SourceFacts
from tests.client.made import INFO, all_verdicts, dropped, extraction, verdict

GOLDEN = Path(__file__).with_name("golden")
VERDICTS = all_verdicts()


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(verdict_schema())
    return jsonschema.Draft202012Validator(verdict_schema())


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts_are_what_they_were(name: str) -> None:
    document = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    assert VERDICTS[name].to_dict() == document
    assert Verdict.from_dict(document) == VERDICTS[name]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_files_keep_the_schema(path: Path) -> None:
    validator().validate(json.loads(path.read_text("utf-8")))
    assert path.stem in VERDICTS


def test_verdicts_survive_json() -> None:
    for made in VERDICTS.values():
        assert Verdict.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made


def contradictions() -> Iterator[tuple[str, dict[str, Any]]]:
    """Documents that are almost verdicts."""
    good = VERDICTS["fake_two_people"].to_dict()
    changes: dict[str, Any] = {
        "reason": "no_face",
        "score": 1.5,
        "label": "MAYBE",
        "deciding_track": None,
        "schema_version": "2.0",
        "tracks": [{}],
    }
    for name, value in changes.items():
        yield name, {**good, name: value}
    yield "unknown key", {**good, "probability": 0.5}
    yield "missing key", {name: value for name, value in good.items() if name != "model"}
    yield "NOT_EVALUATED without a reason", {**good, "label": "NOT_EVALUATED"}
    yield "label without a score", {**good, "score": None, "deciding_track": None}
    nested = copy.deepcopy(good)
    nested["model"]["info"]["threshold"] = 7
    yield "model", nested


@pytest.mark.parametrize(("name", "document"), list(contradictions()))
def test_schema_and_reader_refuse_the_same(name: str, document: dict[str, Any]) -> None:
    assert not validator().is_valid(document), name
    with pytest.raises(VerdictError, match=r"schema 1\.0"):
        Verdict.from_dict(document)


def test_the_schema_names_every_field_and_every_code() -> None:
    schema = verdict_schema()
    places = {
        Verdict: schema,
        ServedModel: schema["$defs"]["model"],
        ModelInfo: schema["$defs"]["model_info"],
        SourceFacts: schema["$defs"]["source"],
        Preprocessing: schema["$defs"]["preprocessing"],
        TrackVerdict: schema["$defs"]["track"],
        FrameScore: schema["$defs"]["frame"],
        Dropped: schema["$defs"]["dropped"],
    }
    for kind, place in places.items():
        assert [field.name for field in fields(kind)] == place["required"], kind
        assert set(place["properties"]) == set(place["required"]), kind
    assert schema["$defs"]["reason"]["enum"] == [*get_args(Reason), None]
    assert schema["$defs"]["label"]["enum"] == list(get_args(Label))


def test_results_document_keeps_its_schema() -> None:
    results = [Result(path=name, verdict=made) for name, made in VERDICTS.items()]
    results.append(Result(path="b.mp4", failure=Failure(code="undecodable", message="cut off")))
    registry: Registry[Any] = Registry().with_resource("urn:unmask:verdict:1", Resource.from_contents(verdict_schema()))
    checker = jsonschema.Draft202012Validator(results_schema(), registry=registry)
    document = to_document(results)
    checker.validate(document)
    assert document["counts"] == {"FAKE": 3, "REAL": 1, "UNCERTAIN": 1, "NOT_EVALUATED": 4, "ERROR": 1}
    document["results"][0]["error"] = {"code": "both", "message": "both"}
    assert not checker.is_valid(document)
    with pytest.raises(ValueError, match="either a verdict or a failure"):
        Result(path="x")


@pytest.mark.parametrize(
    ("score", "label"),
    [(0.0, "REAL"), (0.4, "REAL"), (0.4000001, "UNCERTAIN"), (0.5999999, "UNCERTAIN"), (0.6, "FAKE"), (1.0, "FAKE")],
)
def test_the_abstain_band_is_open(score: float, label: str) -> None:
    assert label_of(score, INFO) == label


def test_without_a_band_the_threshold_decides() -> None:
    info = replace(INFO, abstain_low=0.5, abstain_high=0.5)
    assert [label_of(score, info) for score in (0.4999999, 0.5)] == ["REAL", "FAKE"]


def test_the_worst_track_decides() -> None:
    made = VERDICTS["fake_two_people"]
    assert (made.label, made.score, made.deciding_track) == ("FAKE", 0.875, 1)
    assert [track.label for track in made.tracks] == ["REAL", "FAKE", "NOT_EVALUATED"]
    assert made.tracks[2].reason == "too_few_frames"
    assert made.tracks[2].frames == ()


def test_an_untrained_model_claims_nothing_and_shows_its_scores() -> None:
    made = VERDICTS["untrained"]
    assert (made.label, made.reason, made.score) == ("NOT_EVALUATED", "untrained_model", 0.875)
    assert [frame.score for frame in made.tracks[0].frames] == [0.5, 0.75, 0.75, 0.875]


def test_notes_say_what_the_head_looked_at() -> None:
    assert any("last frame alone" in note for note in VERDICTS["last_frame_alone"].notes)
    assert any("single picture" in note for note in VERDICTS["image"].notes)
    assert not VERDICTS["real"].notes


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["no_face"] * 10, "no_face"),
        (["no_face"] * 19 + ["face_too_small"], "no_face"),
        (["no_face"] * 5 + ["face_too_dark"] * 5, "face_too_dark"),
        (["face_too_blurry"] * 3 + ["face_too_small"] * 2, "face_too_blurry"),
        (["short_track"] * 10, "too_few_frames"),
        (["something_new"] * 10, "no_usable_face"),
    ],
)
def test_why_there_is_no_face_to_judge(reasons: list[str], expected: str) -> None:
    assert missing_face_reason(dropped(*reasons), len(reasons)) == expected
    assert verdict(extraction(dropped=dropped(*reasons), sampled=len(reasons)), {}).reason == expected


def test_every_verdict_has_words() -> None:
    for made in VERDICTS.values():
        assert headline(made)
        assert explanation(made).endswith(".")
        assert limits(made).endswith(".")
    assert "0.875" in explanation(VERDICTS["fake_two_people"])
    assert "most suspicious of 2 people" in explanation(VERDICTS["fake_two_people"])


def test_numbers_are_cut_so_that_they_agree_with_the_verdict() -> None:
    assert [number(value) for value in (0.0, 0.4999999, 0.5, 0.29, 1.0)] == ["0.000", "0.499", "0.500", "0.290", "1.000"]


def test_names_cannot_hide_what_they_are() -> None:
    assert printable("a\x1b[31mb\u202egpj.exe\udcff é") == "a\\u001b[31mb\\u202egpj.exe\\udcff é"
