import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from client import ClientSettings
from client.report import Report, write_atomically
from client.results import Failure, Result
from client.wording import number
from tests.client.made import all_verdicts, clip, extraction

VERDICTS = all_verdicts()
HOSTILE = '<script>alert(1)</script>"onerror="x\' {{7*7}} \u202egpj.mp4'
VOID = {"meta", "br", "img", "path", "rect", "line", "polyline"}


class Page(HTMLParser):
    """Checks nesting, and gathers what a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.attributes.append((tag, "", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def everything() -> Report:
    report = Report()
    for name, made in VERDICTS.items():
        tracks = [clip(track.track_id, track.frame_count, start_s=track.start_s) for track in made.tracks]
        report.add(Result(path=f"/clips/{name}.mp4", verdict=made), extraction(*tracks))
    report.add(Result(path=HOSTILE, failure=Failure(code="undecodable", message=f"{HOSTILE} is cut off")))
    return report


def test_a_report_of_everything_is_one_file_that_fetches_nothing() -> None:
    text = everything().render()
    page = Page(text)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    tags = {tag for tag, _, _ in page.attributes}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert any("default-src 'none'" in value for value in page.values("content"))


def test_links_and_ids_fit_together() -> None:
    page = Page(everything().render())
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href")} <= set(ids)
    labelled = " ".join(page.values("aria-labelledby")).split()
    assert set(labelled) <= set(ids)
    pictures = [attributes for attributes in page.attributes if attributes[0] == "img" and attributes[1] == "alt"]
    assert len(pictures) == len(page.values("src"))
    assert all(value for _, _, value in pictures)


def test_hostile_names_are_shown_and_do_nothing() -> None:
    text = everything().render()
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{7*7}}" in text
    assert "\\u202egpj.mp4" in text


def test_hostile_metadata_is_escaped() -> None:
    made = VERDICTS["real"]
    info = replace(made.model.info, training_data=HOSTILE, caveat=HOSTILE, detector=HOSTILE)
    hostile = replace(made, model=replace(made.model, info=info, version=HOSTILE), notes=(HOSTILE,))
    report = Report()
    report.add(Result(path="a.mp4", verdict=hostile))
    assert "<script" not in report.render()


@pytest.mark.parametrize("name", VERDICTS)
def test_a_report_of_one_file(name: str) -> None:
    made = VERDICTS[name]
    report = Report()
    tracks = [clip(track.track_id, track.frame_count) for track in made.tracks]
    report.add(Result(path="clips/interview.mp4", verdict=made), extraction(*tracks))
    page = Page(report.render())
    text = " ".join(" ".join(page.text).split())
    assert "Summary" not in text
    assert "What this does not mean." in text
    assert made.model.info.weights_sha256 in text
    assert "Time by stage: 0.90 s in all" in text
    if made.score is not None:
        assert number(made.score) in text
    assert len(page.values("src")) == sum(track.frame_count for track in made.tracks)


def test_the_number_of_pictures_is_bounded() -> None:
    report = Report(ClientSettings(report_crops_per_track=3, report_crops=4))
    made = VERDICTS["fake_two_people"]
    tracks = [clip(track.track_id, track.frame_count) for track in made.tracks]
    report.add(Result(path="a.mp4", verdict=made), extraction(*tracks))
    text = report.render()
    assert len(Page(text).values("src")) == 4
    assert "Not all faces are shown" in text


def test_the_highest_frame_is_among_the_pictures() -> None:
    made = VERDICTS["fake_two_people"]
    frames = list(made.tracks[0].frames)
    frames[4] = replace(frames[4], score=0.987)
    tracks = (replace(made.tracks[0], frames=tuple(frames)),)
    report = Report(ClientSettings(report_crops_per_track=2))
    report.add(Result(path="a.mp4", verdict=replace(made, tracks=tracks, deciding_track=0)), extraction(clip(0, 8)))
    assert "score 0.987" in " ".join(Page(report.render()).values("alt"))


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    everything().write(target)
    assert target.read_text("utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [target]
    before = target.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "half \udcff")
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "report.html", "x")


def test_the_score_stands_at_its_marker() -> None:
    made = next(item for item in VERDICTS.values() if item.score is not None and item.score != item.threshold)
    report = Report()
    report.add(Result(path="clip.mp4", verdict=made))
    page = report.render()
    marker = re.search(r'class="marker" style="left:([\d.]+)%"', page)
    label = re.search(r'class="score" style="--at:([\d.]+)%"', page)
    assert marker is not None
    assert label is not None
    assert label[1] == marker[1] != str(100 * made.threshold)


@pytest.mark.skipif(os.sep != "/", reason="a backslash separates folders on Windows")
def test_a_backslash_is_part_of_a_name() -> None:
    report = Report()
    report.add(Result(path="/clips/a\\b.mp4", failure=Failure(code="undecodable", message="cut off")))
    assert "a\\b.mp4" in "".join(Page(report.render()).text)
