"""Debian's Chromium drives the pages. Screenshots are left in ``out/console/``."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from console.supervisor import Console
from tests.conftest import ROOT
from tests.console.conftest import console_settings, uploaded

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("playwright", reason="playwright is not installed (extra `dev`)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")

from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright  # noqa: E402

SHOTS = ROOT / "out" / "console"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A context that notes what its pages ask for and complain about."""

    def __init__(self, context: BrowserContext, host: str) -> None:
        self.context = context
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        context.on("request", lambda request: self._note(request.url, host))
        context.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _note(self, url: str, host: str) -> None:
        if urlsplit(url).netloc != host and urlsplit(url).scheme not in ("blob", "data"):
            self.foreign.append(url)


@pytest.fixture
def watched(browser: Browser, console: Console) -> Iterator[Watched]:
    context = browser.new_context(
        base_url=console.url, viewport={"width": 1280, "height": 860}, color_scheme="light", accept_downloads=True
    )
    context.set_default_timeout(60_000)
    found = Watched(context, urlsplit(console.url).netloc)
    yield found
    context.close()
    assert found.foreign == []


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.context.new_page()


def shot(page: Page, name: str) -> None:
    """Leaves a picture of the whole page."""
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True, animations="disabled")


def drop(page: Page, *paths: Path) -> None:
    """Drops files onto the page as a mouse does."""
    handle = page.evaluate_handle("() => new DataTransfer()")
    kinds = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".png": "image/png"}
    for path in paths:
        page.evaluate(
            """([transfer, name, type, bytes]) => transfer.items.add(new File([new Uint8Array(bytes)], name, {type}))""",
            [handle, path.name, kinds.get(path.suffix, ""), list(path.read_bytes())],
        )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": handle})
    page.dispatch_event("#drop", "drop", {"dataTransfer": handle})


def axe(page: Page) -> None:
    """Nothing that axe calls serious or critical."""
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    found = Axe().run(page).response["violations"]
    worst = [
        (item["id"], [node["html"][:160] for node in item["nodes"]][:4])
        for item in found
        if item["impact"] in ("serious", "critical")
    ]
    assert worst == []


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
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_attribute("aria-pressed", re.compile("true|false"))
    assert watched.complaints == []


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
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play", timeout=20_000)  # it plays to its end
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


def test_shortcuts_and_dark_mode(page: Page, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["face.jpg"], detector="trained_fake")
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


def test_phone(browser: Browser, console: Console, api: httpx.Client, clips: dict[str, Path]) -> None:
    document = uploaded(api, clips["two_faces.mp4"], frames=8, detector="trained_fake")
    with browser.new_context(
        base_url=console.url, viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True
    ) as context:
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
    with Console(settings) as down, browser.new_context(base_url=down.url) as context:
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


def test_without_scripts(browser: Browser, console: Console, clips: dict[str, Path]) -> None:
    with browser.new_context(base_url=console.url, java_script_enabled=False) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto("/")
        page.locator("#files").set_input_files(clips["face.jpg"])
        page.locator("#start").click()
        page.wait_for_url(re.compile("/analyses/"))
        expect(page.locator(".verdict .headline")).to_have_text(re.compile("untrained"), timeout=60_000)
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/history")


def test_sign_in(browser: Browser, tmp_path: Path) -> None:
    from tests.console.test_access import keys

    with Console(console_settings(tmp_path, auth="always", triton_url="127.0.0.1:9")) as locked:
        key = keys(locked, "add", "me").stdout.strip()
        with browser.new_context(base_url=locked.url) as context:
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
