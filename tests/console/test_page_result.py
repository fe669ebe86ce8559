"""The result page: the verdict, the frames, the reports, the heat maps."""

import json
import re
from pathlib import Path

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")

from playwright.sync_api import Page, expect

from tests.console.conftest import uploaded
from tests.console.pages import SHOTS, Watched, axe, shot


def test_frames_are_shown_where_the_file_is_not(page: Page, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["one_face.mp4"], frames=8, detector="trained_band")
    page.goto(document["links"]["page"])
    expect(page.locator(".verdict .headline")).to_have_text("The detector cannot decide")
    expect(page.locator("#frame")).to_be_visible()
    expect(page.locator("#boxes rect.uncertain")).to_have_count(1)
    shot(page, "result_uncertain")
    page.locator("#seek").press("Home")
    expect(page.locator("#clock")).to_have_text(re.compile(r"0:00\."))
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")  # it plays to its end
    assert page.evaluate("() => document.getElementById('seek').value") == "7"
    # The right original is taken, another file is not.
    page.locator("#original-file").set_input_files(clips["two_faces.mp4"])
    expect(page.locator(".toast")).to_contain_text("another file")
    page.locator("#original-file").set_input_files(clips["one_face.mp4"])
    expect(page.locator("#video")).to_be_visible()


def test_every_report_and_the_link(page: Page, api: httpx.Client, watched: Watched, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["two_faces.mp4"], frames=8, detector="trained_real")
    page.goto(document["links"]["page"])
    expect(page.locator(".verdict .headline")).to_have_text("No signs of face manipulation found")
    shot(page, "result_real")
    for selector, suffix in (("#save", "html"), ("[data-report=json]", "json"), ("[data-report=csv]", "csv")):
        with page.expect_download() as download:
            page.locator(selector).click()
        assert download.value.suggested_filename == f"two_faces.mp4.unmask.{suffix}"
        text = download.value.path().read_text()
        if suffix == "json":
            assert json.loads(text) == document["verdict"]
        else:
            assert len(text) > 500
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy").click()
    expect(page.locator(".toast")).to_have_text("Link copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url
    page.emulate_media(media="print")
    pdf = page.pdf(path=SHOTS / "result.pdf", format="A4")
    assert pdf.startswith(b"%PDF")
    page.emulate_media(media="screen")
    # The report itself is complete and asks for nothing.
    report = watched.context.new_page()
    report.goto(f"{document['links']['report']}")
    expect(report.locator("h1")).to_have_text("Face manipulation report")
    assert watched.complaints == []


def test_untrained_detector_claims_nothing(page: Page, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["face.jpg"])
    page.goto(document["links"]["page"])
    expect(page.locator(".verdict .badge")).to_contain_text("Not evaluated")
    expect(page.locator(".verdict")).to_contain_text("never trained")
    expect(page.locator("#boxes rect.none")).to_have_count(1)
    shot(page, "result_untrained")
    axe(page)


def test_nobody_in_the_picture(page: Page, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["nobody.png"], detector="trained_fake")
    page.goto(document["links"]["page"])
    expect(page.locator("main")).to_contain_text("No face was found")
    shot(page, "result_no_face")
    axe(page)


_DIFFERENCE = """async () => {
  // The largest mean difference, of a channel seen over grey, between what is painted and the server's PNG.
  const pixels = (picture) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 56, height: 56 }), context = canvas.getContext("2d");
    context.fillStyle = "#888";
    context.fillRect(0, 0, 56, 56);
    context.drawImage(picture, 0, 0, 56, 56);
    return context.getImageData(0, 0, 56, 56).data;
  };
  const maps = await (await fetch(`/v1/analyses/${document.getElementById("analysis").dataset.id}/heatmaps`)).json();
  let worst = 0;
  for (const { track_id: person, frames } of maps.tracks) {
    for (const frame of frames) {
      const served = new Image();
      served.src = frame.png;
      await served.decode();
      const painted = document.querySelector(`[data-track="${person}"] [data-frame="${frame.frame_index}"] .heat`);
      const ours = pixels(painted), theirs = pixels(served);
      worst = Math.max(worst, ours.reduce((sum, value, at) => sum + Math.abs(value - theirs[at]), 0) / ours.length);
    }
  }
  return worst;
}"""


def test_heat_maps(page: Page, api: httpx.Client, watched: Watched, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["two_faces.mp4"], frames=8, detector="trained_fake")
    page.goto(document["links"]["page"])
    button = page.get_by_role("button", name="Show where the detector looked")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    layers = page.locator(".crops .heat")
    button.press("Enter")
    expect(layers).to_have_count(16)
    expect(layers.first).to_have_attribute("aria-label", re.compile("(top|middle|bottom) (left|centre|right)|nowhere"))
    expect(page.locator("#heat-legend")).to_contain_text("do not show which pixels were changed")
    # Each lies exactly over its crop.
    face, layer = page.locator(".crops .face > img:first-child").last.bounding_box(), layers.last.bounding_box()
    assert face is not None
    assert layer is not None
    assert abs(face["x"] - layer["x"]) < 1
    assert abs(face["y"] - layer["y"]) < 1
    assert abs(face["width"] - layer["width"]) < 1
    shot(page, "result_heat")
    axe(page)
    # Over the picture, too, each over the square that the detector was given: the face's box and its margin.
    over = page.locator("#maps .heat")
    expect(over).to_have_count(2)
    box, square = page.locator("#boxes rect").first.bounding_box(), over.first.bounding_box()
    assert box is not None
    assert square is not None
    assert abs((box["x"] + box["width"] / 2) - (square["x"] + square["width"] / 2)) < 2
    assert abs(square["height"] - 1.3 * max(box["width"], box["height"])) < 8  # the box has its stroke round it
    page.locator("#heat-player").press("Space")
    expect(over.first).to_be_hidden()
    page.locator("#heat-player").press("Space")
    expect(over.first).to_be_visible()
    page.locator("#seek").press("Home")
    expect(over).to_have_count(2)
    # All of it came with one request, and is what the server's own pictures show.
    assert [url for url in asked if "heatmaps" in url] == [url for url in asked if url.endswith(f"{document['id']}/heatmaps")]
    assert page.evaluate(_DIFFERENCE) < 3
    page.locator("#theme").click()
    shot(page, "result_heat_dark")
    axe(page)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    shot(page, "phone_result_heat")
    page.get_by_role("button", name="Hide where the detector looked").click()
    expect(layers).to_have_count(0)
    assert watched.complaints == []
    other = uploaded(api, clips["face.jpg"], detector="trained_real")
    page.goto(other["links"]["page"])
    page.get_by_role("button", name="Show where the detector looked").click()
    expect(page.locator("#heat-words")).to_contain_text("This server has no heat maps")
    expect(layers).to_have_count(0)


def test_tags_of_a_crowd_stand_apart(page: Page) -> None:
    page.goto("/")
    found = page.evaluate(
        """async () => {
          const { arrange, leader } = await import("/static/overlay.js");
          let seed = 7;
          const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
          const results = [];
          for (const [faces, wide, high] of [[2, 358, 203], [7, 358, 203], [12, 700, 394], [30, 700, 394]]) {
            const room = { left: 10, top: 0, right: 10 + wide, bottom: high };
            const tags = Array.from({ length: faces }, (_, who) => {
              const side = 12 + 30 * random(), left = room.left + (wide / 3) * (1 + random()), top = high / 3 + 40 * random();
              return { who, width: 66, height: 19, face: { left, top, right: left + side, bottom: top + side } };
            });
            const memory = new Map(), places = arrange(tags, room, memory);
            const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
            const seen = places.filter(Boolean);
            results.push({
              faces,
              placed: seen.length,
              apart: seen.every((place, at) => seen.slice(0, at).every((other) => apart(place, other))),
              inside: seen.every((p) => p.left >= room.left && p.right <= room.right && p.top >= room.top && p.bottom <= room.bottom),
              same: JSON.stringify(arrange(tags, room, memory).map((p) => p?.name)) === JSON.stringify(places.map((p) => p?.name)),
              lines: places.filter((place, at) => place && leader(place, tags[at].face)).length,
            });
          }
          return results;
        }"""
    )
    for result in found:
        assert (result["placed"], result["apart"], result["inside"]) == (result["faces"], True, True), result
    assert found[0]["same"]
    assert found[-1]["lines"] > 0
