"""What programs see: from an upload to a verdict and everything made of it."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from client import Detector
from client.verdict import verdict_schema
from console.supervisor import Console
from serving import EmbeddedTriton
from tests.console.conftest import uploaded


@pytest.fixture(scope="module")
def finished(console: Console, clips: dict[str, Path]) -> dict[str, Any]:
    """The analysis of two people, by the detector that calls everything fake."""
    with httpx.Client(base_url=console.url, timeout=120, trust_env=False) as client:
        return uploaded(client, clips["two_faces.mp4"], detector="trained_fake", frames=12)


def test_verdict_is_that_of_the_library(finished: dict[str, Any], detectors: EmbeddedTriton, clips: dict[str, Path]) -> None:
    assert (finished["state"], finished["label"], finished["attempts"]) == ("done", "FAKE", 1)
    jsonschema.validate(finished["verdict"], verdict_schema())
    with Detector(detectors.grpc_url, detector="trained_fake") as detector:
        expected = detector.detect(clips["two_faces.mp4"], frames=12).to_dict()
    for name in ("label", "score", "tracks", "source_sha256", "dropped", "model"):
        assert finished["verdict"][name] == expected[name], name
    assert finished["verdict"]["source"]["path"] == "two_faces.mp4"
    assert len(finished["verdict"]["tracks"]) == 2


@pytest.mark.parametrize("label", ["REAL", "UNCERTAIN"])
def test_every_label_reaches_the_answer(api: httpx.Client, clips: dict[str, Path], label: str) -> None:
    detector = {"REAL": "trained_real", "UNCERTAIN": "trained_band"}[label]
    document = uploaded(api, clips["one_face.mp4"], detector=detector, frames=8)
    assert (document["label"], document["reason"]) == (label, None)


def test_default_detector_claims_nothing(api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["face.jpg"])
    assert (document["label"], document["reason"], document["kind"]) == ("NOT_EVALUATED", "untrained_model", "image")
    assert 0 <= document["score"] <= 1


def test_no_face_is_a_reason_not_an_error(api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["nobody.png"], detector="trained_fake")
    assert (document["state"], document["label"], document["reason"]) == ("done", "NOT_EVALUATED", "no_face")


def test_damaged_file_is_an_error_with_its_reason(api: httpx.Client, clips: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clips["one_face.mp4"].read_bytes()[:2000])
    document = uploaded(api, path)
    assert (document["state"], document["error"]["code"]) == ("failed", "undecodable")
    assert "cut.mp4" in document["error"]["message"]
    assert "/uploads/" not in document["error"]["message"]
    report = api.get(f"/v1/analyses/{document['id']}/report")
    assert (report.status_code, report.json()["code"]) == (409, "no_result")


def test_upload_is_gone_when_the_verdict_is_there(console: Console, finished: dict[str, Any]) -> None:
    assert not (console.settings.uploads_dir / finished["id"]).exists()


def test_part_of_a_video(api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["enters_and_leaves.mp4"], detector="trained_fake", frames=8, start_s=1.2, end_s=2.4)
    times = [frame["timestamp_s"] for track in document["verdict"]["tracks"] for frame in track["frames"]]
    assert times
    assert all(1.2 <= time_s < 2.4 for time_s in times)
    assert document["options"] == {
        "detector": "trained_fake", "frames": 8, "sampling": "uniform", "start_s": 1.2, "end_s": 2.4,
    }  # fmt: skip


def test_reports(api: httpx.Client, finished: dict[str, Any]) -> None:
    address = f"/v1/analyses/{finished['id']}/report"
    html = api.get(address, params={"download": True})
    assert "Signs of face manipulation found" in html.text
    assert html.headers["content-disposition"].startswith('attachment; filename="two_faces.mp4.unmask.html"')
    assert "http" not in html.text.split("<body>")[1].replace("http-equiv", "")
    assert api.get(address, params={"format": "json"}).json() == finished["verdict"]
    lines = list(csv.DictReader(io.StringIO(api.get(address, params={"format": "csv"}).text)))
    frames = [frame for track in finished["verdict"]["tracks"] for frame in track["frames"]]
    assert [float(line["score"]) for line in lines] == [frame["score"] for frame in frames]
    assert api.get(address, params={"format": "pdf"}).status_code == 422


def test_pictures_and_crops(api: httpx.Client, finished: dict[str, Any]) -> None:
    from PIL import Image

    base = f"/v1/analyses/{finished['id']}"
    track = finished["verdict"]["tracks"][1]
    index = track["frames"][0]["frame_index"]
    picture = api.get(f"{base}/frames/{index}.jpg")
    assert Image.open(io.BytesIO(picture.content)).size == (320, 240)
    crop = api.get(f"{base}/crops/{track['track_id']}/{index}.jpg")
    assert Image.open(io.BytesIO(crop.content)).size == (112, 112)
    assert api.get(f"{base}/frames/99999.jpg").json()["code"] == "not_found"


def test_events_tell_the_stages_and_end(api: httpx.Client, clips: dict[str, Path]) -> None:
    with clips["two_faces.mp4"].open("rb") as file:
        created = api.post("/v1/analyses", files={"file": file})
    assert created.status_code == 202
    assert created.headers["location"] == created.json()["links"]["self"]
    names, stages, last = [], [], {}
    with api.stream("GET", created.json()["links"]["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line[7:])
            elif line.startswith("data: "):
                last = json.loads(line[6:])
                stages.append(last["progress"]["stage"])
    assert names[-1] == "end"
    assert set(names[:-1]) <= {"progress"}
    assert last["state"] == "done"
    known = [stage for stage in stages if stage is not None]
    assert known == sorted(known, key=["decode", "faces", "network", "verdict"].index)


def test_raw_body(api: httpx.Client, clips: dict[str, Path]) -> None:
    document = api.post(
        "/v1/analyses",
        params={"wait": 60, "filename": "räw.mp4", "frames": 4},
        content=clips["one_face.mp4"].read_bytes(),
        headers={"content-type": "video/mp4"},
    ).json()
    assert (document["filename"], document["state"], document["options"]["frames"]) == ("räw.mp4", "done", 4)


def test_several_files_are_a_batch(api: httpx.Client, clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    paths = [clips["one_face.mp4"], clips["face.jpg"], tmp_path / "notes.mp4"]
    answer = api.post("/v1/analyses", files=[("file", (path.name, path.read_bytes())) for path in paths], data={"frames": "4"})
    assert answer.status_code == 202
    document = answer.json()
    assert [item["filename"] for item in document["analyses"]] == ["one_face.mp4", "face.jpg"]
    assert [(item["filename"], item["error"]["code"]) for item in document["refused"]] == [("notes.mp4", "unsupported_media")]
    for item in document["analyses"]:
        assert api.get(item["links"]["self"], params={"wait": 60}).json()["state"] == "done"
    listed = api.get("/v1/analyses", params={"batch": document["batch"]}).json()
    assert listed["total"] == 2
    exported = api.get(f"/batches/{document['batch']}/export", params={"format": "json"}).json()
    assert exported["counts"]["NOT_EVALUATED"] == 2
    table = list(csv.DictReader(io.StringIO(api.get(f"/batches/{document['batch']}/export").text)))
    assert [line["file"] for line in table] == ["one_face.mp4", "face.jpg"]


def test_idempotency_key(api: httpx.Client, clips: dict[str, Path]) -> None:
    headers = {"idempotency-key": f"key-{time.time_ns()}"}

    def send(name: str, **options: str) -> httpx.Response:
        return api.post("/v1/analyses", files={"file": ("same.mp4", clips[name].read_bytes())}, data=options, headers=headers)

    first, second = send("one_face.mp4", frames="4"), send("one_face.mp4", frames="4")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotency-replayed"] == "true"
    for other in (send("one_face.mp4", frames="5"), send("two_faces.mp4", frames="4")):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_list_pages_filters_and_sorts(api: httpx.Client, clips: dict[str, Path]) -> None:
    batch = f"list-{time.time_ns()}"
    for number in range(5):
        data = clips["face.jpg"].read_bytes()
        api.post("/v1/analyses", files={"file": (f"Page{number}.jpg", data)}, params={"wait": 60, "batch": batch})
    for sort, expected in (("newest", [4, 3, 2, 1, 0]), ("oldest", [0, 1, 2, 3, 4]), ("name", [0, 1, 2, 3, 4])):
        names: list[str] = []
        cursor = None
        while True:
            query: dict[str, str | int] = {"batch": batch, "limit": 2, "sort": sort, **({"cursor": cursor} if cursor else {})}
            page = api.get("/v1/analyses", params=query).json()
            assert page["total"] == 5
            names += [item["filename"] for item in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert names == [f"Page{number}.jpg" for number in expected], sort
    scores = [item["score"] for item in api.get("/v1/analyses", params={"sort": "score"}).json()["items"]]
    known = [score for score in scores if score is not None]
    assert known == sorted(known, reverse=True)
    assert api.get("/v1/analyses", params={"batch": batch, "name": "pAgE3"}).json()["total"] == 1
    assert api.get("/v1/analyses", params={"batch": batch, "label": "FAKE"}).json()["total"] == 0
    assert api.get("/v1/analyses", params={"cursor": "nonsense"}).json()["code"] == "invalid_option"


def test_delete(api: httpx.Client, console: Console, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["face.jpg"])
    folder = console.settings.results_dir / document["id"]
    assert folder.is_dir()
    assert api.delete(f"/v1/analyses/{document['id']}").status_code == 204
    assert not folder.exists()
    assert api.get(f"/v1/analyses/{document['id']}").status_code == 404
    assert api.delete(f"/v1/analyses/{document['id']}").json()["code"] == "not_found"


def test_deleted_while_it_runs_leaves_nothing(api: httpx.Client, console: Console, clips: dict[str, Path]) -> None:
    with clips["one_face.mp4"].open("rb") as file:
        document = api.post("/v1/analyses", files={"file": file}).json()
    api.delete(f"/v1/analyses/{document['id']}")
    uploaded(api, clips["face.jpg"])  # whichever worker had it has gone on by now, or goes on soon
    deadline = time.monotonic() + 30
    while (console.settings.results_dir / document["id"]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (console.settings.uploads_dir / document["id"]).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": "0"}, "frames"),
        ({"frames": "9999"}, "frames"),
        ({"frames": "many"}, "frames"),
        ({"sampling": "random"}, "uniform, first, interval, window"),
        ({"start_s": "5", "end_s": "2"}, "after start_s"),
        ({"end_s": "nan"}, "number"),
        ({"detector": "nobody"}, "not served"),
        ({"webhook": "ftp://example.org/"}, "http"),
        ({"batch": "a/b"}, "letters"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_options_outside_their_range(api: httpx.Client, clips: dict[str, Path], options: dict[str, str], words: str) -> None:
    api.get("/v1/models")
    answer = api.post("/v1/analyses", files={"file": clips["face.jpg"].read_bytes()}, data=options)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    query = api.post("/v1/analyses", files={"file": clips["face.jpg"].read_bytes()}, params=options)
    assert query.status_code == 422 or "colour" in options  # a query parameter that nobody knows is ignored, as usual


def test_what_the_service_says_of_itself(api: httpx.Client, finished: dict[str, Any]) -> None:
    models = api.get("/v1/models").json()
    assert [model["detector"] for model in models["models"]] == [
        "deepfake_detector",
        "trained_band",
        "trained_fake",
        "trained_real",
    ]
    assert api.get("/v1/limits").json()["max_upload_bytes"] == 2 * 2**30
    assert api.get("/v1/schemas/verdict").json() == verdict_schema()
    assert api.get("/healthz").text == "ok\n"
    assert api.get("/readyz").json() == {"ready": True, "checks": {"database": "ok", "workers": "ok", "triton": "ok"}}
    metrics = api.get("/metrics").text
    assert 'unmask_console_analyses{state="done"}' in metrics
    assert "unmask_console_workers 2.0" in metrics
    assert finished["id"] not in metrics


def test_unknown_addresses_are_problems(api: httpx.Client) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/analyses", 405), ("GET", "/v1/analyses/xyz", 422)):
        answer = api.request(method, path)
        assert answer.status_code == status
        assert answer.json()["status"] == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_docs_page_names_every_address_option_and_error(api: httpx.Client) -> None:
    document = api.get("/v1/openapi.json").json()
    page = api.get("/docs").text
    for path, methods in document["paths"].items():
        assert path in page
        for facts in methods.values():
            assert f'id="{facts["operationId"]}"' in page
            assert all(f">{option['name']}<" in page for option in facts.get("parameters", []))
    for code in ("queue_full", "idempotency_key_reused", "disk_full"):
        assert f">{code}<" in page
    assert "`" not in page
