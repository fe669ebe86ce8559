"""Pages that say what happened and what to do; signing in."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")

from playwright.sync_api import Browser, Page, expect

from console.supervisor import Console
from tests.console.conftest import console_settings
from tests.console.pages import axe, fresh, shot


def test_error_pages(page: Page, browser: Browser, tmp_path: Path, clips: dict[str, Path]) -> None:
    page.goto("/analyses/" + "0" * 24)
    expect(page.locator("main")).to_contain_text("What to do")
    shot(page, "error_not_found")
    axe(page)
    (tmp_path / "cut.mp4").write_bytes(clips["one_face.mp4"].read_bytes()[:3000])
    page.goto("/")
    page.locator("#files").set_input_files(tmp_path / "cut.mp4")
    page.locator("#start").click()
    page.wait_for_url(re.compile("/analyses/"))
    expect(page.locator(".headline")).to_have_text("This file cannot be read")
    shot(page, "error_undecodable")
    axe(page)
    # A console without a server, with a small limit, that asks for keys.
    settings = console_settings(tmp_path / "data", max_upload_bytes=20_000, triton_url="127.0.0.1:9")
    with Console(settings) as down, fresh(browser, down) as context:
        page = context.new_page()
        page.goto("/models")
        expect(page.locator("main")).to_contain_text("server does not answer")
        shot(page, "error_server_down")
        axe(page)
        page.goto("/")
        page.locator("#files").set_input_files(clips["one_face.mp4"])
        expect(page.locator(".file")).to_contain_text("too large, the limit is 20.0 kB")
        shot(page, "error_too_large")
        axe(page)
        # There is no worker here, so this one waits.
        page.goto("/")
        page.locator("#files").set_input_files(clips["nobody.png"])
        page.locator("#start").click()
        page.locator(".file a.name").click()
        expect(page.locator("#stage-words")).to_have_text("Waiting for its turn.")
        shot(page, "waiting")
        axe(page)
        page.get_by_role("button", name="Cancel and delete").click()
        page.wait_for_url("**/history")
        expect(page.locator("main")).to_contain_text("Nothing was checked yet")
        shot(page, "history_empty")


def test_sign_in(browser: Browser, tmp_path: Path) -> None:
    from tests.console.test_access import keys

    with Console(console_settings(tmp_path, auth="always", triton_url="127.0.0.1:9")) as locked:
        key = keys(locked, "add", "me").stdout.strip()
        with fresh(browser, locked) as context:
            page = context.new_page()
            page.goto("/")
            page.get_by_role("link", name="Sign in").click()
            page.get_by_label("API key").fill("unm_wrong")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("not valid")
            shot(page, "sign_in")
            axe(page)
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Sign in").click()
            expect(page.locator("h1")).to_have_text("Has this face been manipulated?")
            page.get_by_role("button", name="Sign out").click()
            expect(page.locator("h1")).to_have_text("Sign in")
