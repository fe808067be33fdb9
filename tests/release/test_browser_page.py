"""The page that a release carries; `make compat` lets it write text in Chromium."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fakes
import pytest
from browser import open_page
from payloads import PAYLOADS

from jagpt.release import browser

MIRROR = "https://cdn.jsdelivr.net/npm/"
HOSTILE = f"release.title={json.dumps(' '.join(PAYLOADS))}"


def settings_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="settings">(.*?)</script>', page)
    assert found is not None
    value: dict[str, Any] = json.loads(found[1])
    return value


def test_the_page_has_the_recipes_title_prompts_and_defaults_as_data() -> None:
    recipe = fakes.recipe(fakes.RECIPE, HOSTILE)
    found = settings_of(browser.page(recipe))
    assert found["title"] == " ".join(PAYLOADS)
    assert found["prompts"] == list(recipe.release.known_prompts)
    assert found["context"] == recipe.model.n_positions
    assert found["count"] <= recipe.model.n_positions // 2
    assert (found["top_k"], found["top_p"]) == (recipe.export.top_k, recipe.export.top_p)


def test_every_file_from_elsewhere_has_a_version_and_a_sum() -> None:
    page = browser.page(fakes.recipe())
    addresses = set(re.findall(r"https?://[^/\s\"]+", page))
    assert {one.rstrip(";") for one in addresses} == {
        "https://cdn.jsdelivr.net", "http://localhost:8000",
    }  # fmt: skip
    assert len(re.findall(r'"sha384-[A-Za-z0-9+/]{64}"', page)) == 3
    assert re.findall(r"@huggingface/transformers@(\d+\.\d+\.\d+)/", page)


@pytest.mark.parametrize("missing", ["onnx/model_quantized.onnx", "tokenizer.json"])
def test_a_release_without_what_the_page_loads_has_no_page(tmp_path: Path, missing: str) -> None:
    (tmp_path / "onnx").mkdir()
    names = ["onnx/model_quantized.onnx", "tokenizer.json"]
    for name in names:
        (tmp_path / name).write_text("{}")
    browser.add_page(fakes.recipe(), tmp_path)
    assert (tmp_path / browser.PAGE).is_file()
    (tmp_path / browser.PAGE).unlink()
    (tmp_path / missing).unlink()
    browser.add_page(fakes.recipe(), tmp_path)
    assert not (tmp_path / browser.PAGE).exists()
    assert browser.same_ids(tmp_path) is None


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page on a plain file server."""
    folder = tmp_path_factory.mktemp("served")
    (folder / browser.PAGE).write_text(browser.page(fakes.recipe(fakes.RECIPE, HOSTILE)), "utf-8")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{browser.PAGE}"
    server.shutdown()
    server.server_close()


def test_a_hostile_title_is_text_and_another_library_is_refused(served: str) -> None:
    asked: list[str] = []
    with open_page(locale="ja-JP") as page:

        def answer(route: Any) -> None:
            asked.append(route.request.url)
            headers = {"Access-Control-Allow-Origin": "*"}
            route.fulfill(body="window.hacked = 1", headers=headers)

        page.context.route(lambda url: not url.startswith("http://127.0.0.1"), answer)
        page.goto(served)
        page.wait_for_selector('body[data-state="failed"]', timeout=30_000)
        assert page.text_content("h1") == " ".join(PAYLOADS)
        assert page.evaluate("window.hacked") is None
        assert page.is_disabled("#go")
        assert "うまくいきませんでした" in page.inner_text("#status")
        page.click("#language")
        assert "That did not work" in page.inner_text("#status")
    assert len(asked) == 3
    assert all(url.startswith(MIRROR) for url in asked)


def test_opened_as_a_file_it_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / browser.PAGE
    path.write_text(browser.page(fakes.recipe()), "utf-8")
    with open_page(locale="en-GB") as page:
        page.goto(path.as_uri())
        page.wait_for_selector('body[data-state="file"]')
        assert "python -m http.server" in page.inner_text("#status")
