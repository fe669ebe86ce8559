"""The home page: from files to their verdicts."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")

from playwright.sync_api import Browser, Page, Route, expect

from console.supervisor import Console
from tests.console.pages import Watched, axe, drop, fresh, shot


def test_from_a_drop_to_the_verdict(page: Page, watched: Watched, clips: dict[str, Path]) -> None:
    page.goto("/")
    shot(page, "home")
    axe(page)
    drop(page, clips["two_faces.mp4"])
    expect(page.locator(".file .name")).to_have_text("two_faces.mp4")
    expect(page.locator(".thumb video")).to_be_visible()
    page.locator("summary", has_text="Options").click()
    page.locator("#frames").fill("16")
    page.locator("#detector").select_option("trained_fake")
    shot(page, "home_chosen")
    axe(page)
    page.evaluate(
        """() => new MutationObserver(() => {
            for (const item of document.querySelectorAll('.stages .now'))
                sessionStorage.setItem('seen', (sessionStorage.getItem('seen') ?? '') + item.dataset.stage + ' ');
        }).observe(document.getElementById('list'), {subtree: true, childList: true, attributes: true})"""
    )
    page.locator("#frames").press("Enter")
    page.wait_for_url(re.compile("/analyses/"))
    stages = page.evaluate("() => sessionStorage.getItem('seen') ?? ''").split()
    assert stages
    assert set(stages) <= {"decode", "faces", "network", "verdict"}
    expect(page.locator(".verdict .headline")).to_have_text("Signs of face manipulation found")
    expect(page.locator(".lane")).to_have_count(2)
    # The file is still in this browser: it plays beside its result although the server has deleted it.
    expect(page.locator("#video")).to_be_visible()
    expect(page.locator("#boxes rect")).to_have_count(2)
    shot(page, "result_fake")
    axe(page)
    # A click on the timeline seeks.
    plot = page.locator(".plot").first
    area = plot.bounding_box()
    assert area is not None
    plot.click(position={"x": area["width"] * 0.25, "y": 40})
    expect(page.locator("#clock")).to_have_text(re.compile(r"0:00\.[45]"))
    page.wait_for_function("() => Math.abs(document.getElementById('video').currentTime - 0.5) < 0.12")
    box = page.locator("#boxes rect").first.bounding_box()
    screen = page.locator("#screen").bounding_box()
    assert box is not None
    assert screen is not None
    assert screen["x"] <= box["x"] < box["x"] + box["width"] <= screen["x"] + screen["width"]
    # By keyboard, too.
    page.locator("#seek").focus()
    before = page.locator("#clock").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#clock")).not_to_have_text(before)
    page.locator(".crops button").last.click()
    expect(page.locator(".crops button.at")).to_have_count(2)
    page.evaluate(
        "() => { window.played = new Promise((done) => document.getElementById('video').addEventListener('play', () => done(true))); }"
    )
    page.locator("#play").click()
    assert page.evaluate("() => window.played") is True
    assert watched.complaints == []


def test_keyboard_alone(page: Page, clips: dict[str, Path]) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    with page.expect_file_chooser() as chooser:
        for _ in range(3):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.id") == "files":
                page.keyboard.press("Enter")
                break
    chooser.value.set_files(clips["face.jpg"])
    expect(page.locator("#start")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/analyses/"))


def test_without_scripts(browser: Browser, console: Console, clips: dict[str, Path]) -> None:
    with fresh(browser, console, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        page.locator("#files").set_input_files(clips["face.jpg"])
        page.locator("#start").click()
        page.wait_for_url(re.compile("/analyses/"))
        expect(page.locator(".verdict .headline")).to_have_text(re.compile("untrained"))
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/history")


def test_home_page_is_small(page: Page) -> None:
    sizes: dict[str, int] = {}

    def note(route: Route) -> None:
        answer: Any = route.fetch()
        sizes[route.request.url] = len(answer.body()) + sum(
            len(name) + len(value) + 4 for name, value in answer.headers.items()
        )
        route.fulfill(response=answer)

    page.route("**/*", note)
    page.goto("/")
    page.wait_for_load_state("networkidle")
    assert len(sizes) >= 5
    assert sum(sizes.values()) < 100_000, sizes
