"""The system's Chromium, driven by Playwright; who needs it is skipped where it is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@contextmanager
def open_page(**context: Any) -> Iterator[Any]:
    """A page of a fresh browser; the keywords are those of Playwright's `new_context`."""
    pytest.importorskip("playwright", reason="needs playwright")
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser.new_context(**context).new_page()
        finally:
            browser.close()


class Watch:
    """What a page asks for from elsewhere, and what goes wrong in it."""

    def __init__(self, page: Any, own: str) -> None:
        self.elsewhere: list[str] = []
        self.problems: list[str] = []
        page.on("request", lambda request: self._asked(request.url, own))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on(
            "console",
            lambda said: self.problems.append(said.text) if said.type == "error" else None,
        )

    def _asked(self, url: str, own: str) -> None:
        if not url.startswith((own, "data:", "blob:")):
            self.elsewhere.append(url)
