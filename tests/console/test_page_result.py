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


def test_heat_maps(page: Page, api: httpx.Client, watched: Watched, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["two_faces.mp4"], frames=8, detector="trained_fake")
    page.goto(document["links"]["page"])
    button = page.get_by_role("button", name="Show where the detector looked")
    button.press("Enter")
    layers = page.locator(".crops .heat")
    expect(layers).to_have_count(16)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.crops .heat')].every((layer) => layer.complete && layer.naturalWidth === 112)"
    )
    expect(layers.first).to_have_attribute("alt", re.compile("(top|middle|bottom) (left|centre|right)|nowhere"))
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
