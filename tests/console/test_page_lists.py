"""History, batches, comparing and deleting; the phone."""

from pathlib import Path

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")

from playwright.sync_api import Browser, Page, expect

from console.supervisor import Console
from tests.console.conftest import uploaded
from tests.console.pages import axe, fresh, shot


def test_batch_history_compare_and_delete(page: Page, clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("Dear editor")
    page.goto("/")
    page.locator("#files").set_input_files([clips["one_face.mp4"], clips["face.jpg"], tmp_path / "letter.mp4"])
    expect(page.locator("#start")).to_have_text("Check 3 files")
    page.locator("#detector").evaluate("(select) => { select.value = 'trained_fake'; }")
    page.locator("#start").press("Enter")
    expect(page.locator(".file .badge.fake")).to_have_count(2)
    expect(page.locator(".file .badge.error")).to_have_count(1)
    expect(page.locator(".file", has_text="letter.mp4")).to_contain_text("Not a video or image")
    shot(page, "home_batch")
    axe(page)
    page.locator("#batch").click()
    expect(page.locator("h1")).to_have_text("2 files, one batch")
    shot(page, "batch")
    axe(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "one_face.mp4" in download.value.path().read_text()
    page.goto("/history")
    axe(page)
    page.locator("#name").fill("face")
    page.locator("#show").select_option("FAKE")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**/history?*")
    expect(page.locator(".list tbody tr .badge")).not_to_have_count(0)
    assert {" ".join(text.split()) for text in page.locator(".list tbody .badge").all_inner_texts()} == {"▲ Fake"}
    shot(page, "history")
    for position in (0, 1):
        page.locator(".list tbody input").nth(position).check()
    page.get_by_role("button", name="Compare chosen").click()
    expect(page.locator(".compare article")).to_have_count(2)
    shot(page, "compare")
    axe(page)
    page.go_back()
    count = page.locator(".list tbody tr").count()
    page.locator(".list tbody input").first.check()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete chosen").click()
    expect(page.locator(".list tbody tr")).to_have_count(count)
    target = page.locator(".list tbody a").first.get_attribute("href")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete chosen").click()
    page.wait_for_url("**/history")
    answer = page.goto(target or "")
    assert answer is not None
    assert answer.status == 404


def test_phone(browser: Browser, console: Console, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["two_faces.mp4"], frames=8, detector="trained_fake")
    with fresh(browser, console, viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True) as context:
        page = context.new_page()
        for path, name in (
            ("/", "home"),
            (document["links"]["page"], "result"),
            ("/history", "history"),
            ("/models", "models"),
            ("/docs", "docs"),
        ):
            page.goto(path)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
            shot(page, f"phone_{name}")
            axe(page)
