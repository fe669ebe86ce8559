"""Shortcuts and dark mode."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")

from playwright.sync_api import Browser, Page, Route, expect

from console.supervisor import Console
from serving import EmbeddedTriton
from tests.console.conftest import console_settings, uploaded
from tests.console.pages import axe, fresh, shot


def test_shortcuts_and_dark_mode(page: Page, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["face.jpg"], detector="trained_fake")
    assert document["state"] == "done", document["error"]  # else there is no report to save
    page.goto("/")
    for keys in ("Control+u", "Alt+u"):
        with page.expect_file_chooser() as chooser:
            page.keyboard.press(keys)
        assert chooser.value.is_multiple()
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    shot(page, "shortcuts")
    axe(page)
    page.locator("#single-keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_hidden()
    for keys in ("Control+r", "Alt+r"):
        page.goto("/")
        page.keyboard.press(keys)
        page.wait_for_url("**/history")
    page.goto(document["links"]["page"])
    for keys in ("Control+s", "Alt+s"):
        with page.expect_download() as download:
            page.keyboard.press(keys)
        assert download.value.suggested_filename.endswith(".html")
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert dark != ground
    page.reload()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == dark
    shot(page, "result_dark")
    axe(page)
    page.keyboard.press("Alt+t")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == ground
    page.keyboard.press("Control+t")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == dark
    for path, name in (("/", "home_dark"), ("/history", "history_dark"), ("/models", "models_dark")):
        page.goto(path)
        shot(page, name)
        axe(page)


def test_a_key_pressed_before_the_script_is_there_counts(page: Page) -> None:
    held: list[Route] = []
    page.route("**/static/common.js", lambda route: held.append(route), times=1)
    page.goto("/", wait_until="commit")
    page.wait_for_function("() => document.documentElement.classList.contains('js') && document.body")
    page.keyboard.press("Control+r")
    assert urlsplit(page.url).path == "/"
    assert len(held) == 1
    held[0].continue_()
    page.wait_for_url("**/history")


def test_a_report_asked_for_too_early_is_saved_when_it_is_there(
    browser: Browser, detectors: EmbeddedTriton, tmp_path: Path, clips: dict[str, Path]
) -> None:
    waiting = console_settings(tmp_path, triton_url=detectors.grpc_url)
    with Console(waiting) as running, fresh(browser, running, accept_downloads=True) as context:
        with httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client, clips["face.jpg"].open("rb") as file:
            document = client.post("/v1/analyses", files={"file": file}).json()
        page = context.new_page()
        page.goto(document["links"]["page"])
        page.keyboard.press("Control+s")
        expect(page.locator(".toast")).to_contain_text("as soon as it is there")
        # A worker comes, as on a machine that had none to spare.
        with page.expect_download() as download, Console(waiting.model_copy(update={"workers": 1})):
            page.wait_for_selector("#save")
        assert download.value.suggested_filename == "face.jpg.unmask.html"
