"""Make the pictures in docs/images from a finished run and the site, with the system's Chromium.

usage: build_screenshots.py RUN_DIR
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
BUILD_SITE = Path(__file__).resolve().parent / "build_site.py"
COLOURS = 128
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none"]


def main(arguments: list[str]) -> int:
    """Write the pictures."""
    if len(arguments) != 1 or not (chromium := shutil.which("chromium")):
        print(__doc__, file=sys.stderr)
        return 2
    run = Path(arguments[0])
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        report_pictures(browser, run)
        playground_pictures(browser, run)
        site_pictures(browser)
        browser.close()
    return 0


def report_pictures(browser: Browser, run: Path) -> None:
    """The report's beginning on a desk and on a phone, light and dark, in both languages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for name, width, height, scheme, language in (
            ("report", 1366, 768, "light", "en"),
            ("report-ja", 1366, 768, "light", "ja"),
            ("report-dark", 1366, 768, "dark", "en"),
            ("report-phone-dark", 390, 844, "dark", "ja"),
        ):
            jagpt("report", str(run), "--output", str(path), "--language", language)
            page = opened(browser, path.as_uri(), width, height, scheme)
            save(page.screenshot(), name)


def playground_pictures(browser: Browser, run: Path) -> None:
    """The playground after a text was written: on a desk and a phone, light and dark."""
    with playground(run) as url:
        for name, width, height, locale, scheme in (
            ("playground", 1366, 768, "ja-JP", "light"),
            ("playground-dark", 1366, 768, "en-GB", "dark"),
            ("playground-phone", 390, 844, "ja-JP", "light"),
        ):
            page = opened(browser, url, width, height, scheme, locale)
            page.wait_for_selector("#jp-generate")
            page.wait_for_timeout(3000)
            page.fill("#jp-prompt textarea", "江戸時代の町では、")
            page.click("#jp-settings button")
            page.fill("#jp-max-new-tokens input[type=number]", "60")
            page.press("#jp-max-new-tokens input[type=number]", "Tab")
            page.click("#jp-settings button")
            page.click("#jp-generate")
            page.wait_for_selector('#jp-output [data-state="done"]', timeout=60_000)
            page.mouse.move(5, 5)
            save(page.screenshot(), name)


def site_pictures(browser: Browser) -> None:
    """The site's first pages on a desk and on a phone, light and dark, in both languages."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        subprocess.run([sys.executable, str(BUILD_SITE), str(site)], check=True)  # noqa: S603
        for name, place, width, height, scheme in (
            ("site", "index.html", 1366, 768, "light"),
            ("site-dark", "ja/index.html", 1366, 768, "dark"),
            ("site-phone", "ja/tutorial-demo.html", 390, 844, "light"),
            ("site-phone-dark", "tutorial-demo.html", 390, 844, "dark"),
        ):
            page = opened(browser, (site / place).as_uri(), width, height, scheme)
            page.wait_for_timeout(500)
            save(page.screenshot(), name)


def opened(
    browser: Browser, url: str, width: int, height: int, scheme: Any, locale: str = "en-GB"
) -> Any:
    """A page of its own at an address."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale
    )
    page = context.new_page()
    page.goto(url)
    return page


@contextmanager
def playground(run: Path) -> Iterator[str]:
    """The address of a playground that ends afterwards."""
    command = [sys.executable, "-m", "jagpt", "playground", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        found = re.search(r"http://\S+/", process.stdout.readline() if process.stdout else "")
        if found is None:
            raise SystemExit("the playground did not start")
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def jagpt(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "jagpt", *arguments], check=True)  # noqa: S603


def save(content: bytes, name: str) -> None:
    """A picture with few colours, so that it is small."""
    path = IMAGES / f"{name}.png"
    path.write_bytes(content)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.relative_to(IMAGES.parent.parent)}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
