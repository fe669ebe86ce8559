"""What drives Debian's Chromium through the pages. Screenshots are left in ``out/console/``."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page

from console.supervisor import Console
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = ROOT / "out" / "console"
PATIENCE_MS = 120_000
"""For a condition that must come; a busy machine is no failure."""


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


def fresh(browser: Browser, console: Console, **options: Any) -> BrowserContext:
    """A profile of its own on a console, as patient as the others."""
    context = browser.new_context(base_url=console.url, **options)
    context.set_default_timeout(PATIENCE_MS)
    return context


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
