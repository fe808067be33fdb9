"""The page as a visitor uses it, in the system's Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import Watch, open_page
from payloads import PAYLOADS

from jagpt.playground.texts import ENGLISH, JAPANESE

SECONDS_A_TOKEN = 0.25
EXAMPLE = "江戸時代の町では、"
OUTPUT = "#jp-output [data-state]"


@pytest.fixture(scope="module")
def page(start: Callable[..., Any]) -> Iterator[Any]:
    with open_page(locale="en-GB") as page:
        served = start(SECONDS_A_TOKEN, "first", "<b>second</b>")
        watch = Watch(page, served.url)
        page.goto(served.url)
        page.wait_for_selector("#jp-generate")
        page.click("#jp-settings button")
        page.wait_for_selector("#jp-top-p")
        yield page
        assert watch.elsewhere == []
        assert watch.problems == []


def wait_for(page: Any, state: str) -> None:
    page.wait_for_selector(f'#jp-output [data-state="{state}"]', timeout=30_000)


def set_slider(page: Any, name: str, value: float) -> None:
    page.fill(f"#jp-{name} input[type=number]", str(value))
    page.press(f"#jp-{name} input[type=number]", "Tab")


def cards(page: Any) -> list[str]:
    found: list[str] = page.locator("#jp-output article .jp-text").all_inner_texts()
    return found


def test_type_move_a_slider_generate_and_read(page: Any) -> None:
    page.fill("#jp-prompt textarea", "日本語を")
    page.locator("#jp-top-p input[type=range]").fill("0.5")
    assert page.input_value("#jp-top-p input[type=number]") == "0.5"
    set_slider(page, "max-new-tokens", 6)
    set_slider(page, "samples", 3)
    page.click("#jp-generate")
    wait_for(page, "running")
    wait_for(page, "done")
    texts = cards(page)
    assert len(texts) == 2 * 3
    assert texts[:3] == texts[3:]  # the same model twice
    assert all(text.startswith("日本語を") for text in texts)
    assert page.locator("#jp-output h3").all_inner_texts() == ["first", "<b>second</b>"]
    assert 2 <= page.locator("#jp-output article").first.locator(".jp-t").count() <= 6
    assert ENGLISH.done in page.inner_text("#jp-output")


def test_it_streams_and_stops(page: Any) -> None:
    set_slider(page, "max-new-tokens", 40)
    set_slider(page, "samples", 1)
    page.click("#jp-generate")
    wait_for(page, "running")
    early = cards(page)[0]
    page.wait_for_function(
        "early => document.querySelector('#jp-output .jp-text').innerText.length > early",
        arg=len(early),
    )
    page.click("#jp-stop")
    wait_for(page, "stopped")
    made = page.locator("#jp-output article").first.locator(".jp-t").count()
    assert 0 < made < 40
    page.wait_for_timeout(600)
    assert page.locator("#jp-output article").first.locator(".jp-t").count() == made


def test_the_colours_can_be_switched_off(page: Any) -> None:
    colour = "getComputedStyle(document.querySelector('#jp-output .jp-text .jp-t')).backgroundColor"
    assert page.evaluate(colour) != "rgba(0, 0, 0, 0)"
    page.uncheck("#jp-colours input")
    assert page.evaluate(colour) == "rgba(0, 0, 0, 0)"
    page.check("#jp-colours input")


def test_the_language_can_be_changed(page: Any) -> None:
    page.check('#jp-language input[value="日本語"]')
    page.wait_for_function(
        "text => document.querySelector('#jp-generate').innerText == text", arg=JAPANESE.generate
    )
    page.fill("#jp-prompt textarea", "あ" * 60)
    page.click("#jp-generate")
    wait_for(page, "refused")
    assert "書き出しが 60 トークンあり、first の上限（47）" in page.inner_text("#jp-output")
    assert "60 tokens" not in page.inner_text("#jp-output")
    page.check('#jp-language input[value="English"]')
    page.wait_for_function(
        "text => document.querySelector('#jp-stop').innerText == text", arg=ENGLISH.stop
    )
    refused = page.inner_text("#jp-output")
    assert "The text has 60 tokens; first can continue at most 47." in refused
    assert "書き出し" not in refused


def test_an_example_fills_the_prompt(page: Any) -> None:
    page.click(f'button:has-text("{EXAMPLE}")')
    page.wait_for_function(
        "text => document.querySelector('#jp-prompt textarea').value == text", arg=EXAMPLE
    )


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
def test_text_and_result_stand_together_on_a_screen(page: Any, width: int, height: int) -> None:
    before = page.viewport_size
    page.click("#jp-settings button")
    page.set_viewport_size({"width": width, "height": height})
    for part in ("#jp-prompt textarea", "#jp-generate", OUTPUT):
        box = page.locator(part).bounding_box()
        assert 0 <= box["y"] < height - 40, part
        assert box["x"] + box["width"] <= width, part
    page.set_viewport_size(before)
    page.click("#jp-settings button")


def test_each_press_draws_anew_and_a_kept_seed_stays(page: Any) -> None:
    set_slider(page, "max-new-tokens", 1)
    seed = "#jp-seed input"

    def pressed() -> str:
        page.click("#jp-generate")
        wait_for(page, "done")
        told = page.inner_text("#jp-output .jp-status").split()[-1]
        page.wait_for_function(
            "told => document.querySelector('#jp-seed input').value == told", arg=told
        )
        return str(page.input_value(seed))

    page.fill("#jp-prompt textarea", "日本語を")
    first = pressed()
    page.check("#jp-keep-seed input")
    page.fill(seed, "12")
    page.press(seed, "Tab")
    page.click("#jp-generate")
    page.wait_for_function(
        "() => document.querySelector('#jp-output .jp-status')?.innerText.endsWith(' 12')"
    )
    page.uncheck("#jp-keep-seed input")
    page.click("#jp-generate")
    page.wait_for_function(
        "() => !document.querySelector('#jp-output .jp-status')?.innerText.endsWith(' 12')"
    )
    wait_for(page, "done")
    assert page.input_value(seed) != first


def test_what_is_typed_appears_as_text_and_never_runs(page: Any) -> None:
    set_slider(page, "max-new-tokens", 1)
    for payload in (" ".join(PAYLOADS[:16])[:9000], "$" + "{window.hacked=1}"):
        page.fill("#jp-prompt textarea", payload)
        page.click("#jp-generate")
        page.wait_for_timeout(300)
        page.wait_for_selector(OUTPUT)
    assert page.evaluate("window.hacked") is None
