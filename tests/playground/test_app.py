"""The page without a browser."""

from __future__ import annotations

import asyncio
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jagpt import generation
from jagpt import recipe as recipes
from jagpt.errors import DataError, UsageError
from jagpt.playground import Desk, Limits, server
from jagpt.playground.texts import ENGLISH

DOCS = Path(__file__).parents[2] / "docs"
gradio = pytest.importorskip("gradio", reason="needs the extra jagpt[playground]")


def last(tiny_model: Path, limits: Limits, *asked: Any) -> str:
    """The page's last answer to one request."""
    from jagpt.playground.app import Handlers

    desk = Desk(limits.queue)
    handlers = Handlers({"tiny": generation.load(tiny_model)}, limits, desk)
    request: Any = SimpleNamespace(session_hash="a")

    async def answers() -> list[str]:
        return [html async for html, _ in handlers.generate(*asked, request)]

    try:
        return asyncio.run(answers())[-1]
    finally:
        desk.close()


def test_what_is_asked_beyond_the_limits_is_cut(tiny_model: Path) -> None:
    limits = Limits(max_new_tokens=3, max_samples=2)
    html = last(tiny_model, limits, "京都", 999, 1.0, 0, 1.0, 1.0, 99, 1, True)
    assert html.count("<article>") == 2
    assert "3 tokens" in html


@pytest.mark.parametrize(
    ("place", "value"), [(2, 0.0), (4, 1.5), (5, float("nan")), (1, -3), (7, -1), (1, float("inf"))]
)
def test_nonsense_from_a_client_gets_a_polite_answer(
    tiny_model: Path, place: int, value: float
) -> None:
    asked: list[Any] = ["京都", 4, 1.0, 50, 0.9, 1.0, 1, 0, True]
    asked[place] = value
    assert 'data-state="refused"' in last(tiny_model, Limits(), *asked)


def test_a_visitor_is_told_of_the_request_and_not_of_the_servers_files(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = [4, 1.0, 50, 0.9, 1.0, 1, 0, True]
    assert "not valid UTF-8 (character 2)" in last(tiny_model, Limits(), "a\ud800b", *asked)

    def damaged(_loaded: object, _prompt: str) -> list[int]:
        raise DataError(f"{tiny_model}: its tokenizer is damaged")

    monkeypatch.setattr(generation.TextGenerator, "encode", damaged)
    html = last(tiny_model, Limits(), "京都", *asked)
    assert 'data-state="refused"' in html
    assert ENGLISH.unusable in html
    assert "damaged" not in html


def test_the_text_is_another_each_time_unless_the_seed_is_kept(tiny_model: Path) -> None:
    asked = ["京都", 12, 1.0, 0, 1.0, 1.0, 1, 5]
    kept = {last(tiny_model, Limits(), *asked, True) for _ in range(2)}
    free = {last(tiny_model, Limits(), *asked, False) for _ in range(3)}
    assert len(kept) == 1
    assert len(free) > 1


def test_a_run_of_the_sample_is_called_a_demonstration(tiny_model: Path, tmp_path: Path) -> None:
    from jagpt.playground.facts import facts_of

    shutil.copytree(tiny_model, tmp_path / "run" / "model")
    assert not facts_of(generation.load(tmp_path / "run" / "model")).demonstration
    recipe = recipes.load("quickstart").to_toml()
    (tmp_path / "run" / "recipe.toml").write_text(recipe, encoding="utf-8")
    found = facts_of(generation.load(tmp_path / "run" / "model"))
    assert found.demonstration
    assert found.parameters
    assert found.vocabulary == generation.load(tiny_model).engine.vocab_size


def test_sliders_start_at_the_models_defaults_and_gradio_sends_no_analytics() -> None:
    """In a process of its own: gradio leaves an event loop open in that which builds a page."""
    code = """
        from pathlib import Path
        from types import SimpleNamespace
        from jagpt.generation import Defaults
        from jagpt.playground import Desk, Limits, app
        from gradio.analytics import analytics_enabled
        engine = SimpleNamespace(vocab_size=8)
        own = {"temperature": 2.5, "top_k": 500, "top_p": 0.01, "repetition_penalty": 0.9}
        loaded = SimpleNamespace(
            defaults=Defaults(**own), context=48, engine=engine, directory=Path("/")
        )
        blocks = app.build({"tiny": loaded}, Limits(), Desk(1))
        assert not blocks.analytics_enabled
        assert not analytics_enabled()
        blocks = {block.elem_id: block for block in blocks.blocks.values()}
        for name, value in own.items():
            slider = blocks["jp-" + name.replace("_", "-")]
            assert slider.value == value
            assert slider.minimum <= value <= slider.maximum
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


def test_models_are_named_after_their_runs(tiny_model: Path, tmp_path: Path) -> None:
    found = server.load_models([tiny_model, tiny_model])
    assert list(found) == ["run", "run (2)"]
    with pytest.raises(UsageError, match="no such folder"):
        server.load_models([tmp_path / "nowhere"])


def test_a_port_that_is_taken_is_told_before_anything_else() -> None:
    with server._listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: .*; choose another with --port"):
            server.serve({}, port=port)


@pytest.mark.parametrize("host", ["a" * 64, "\x1b[2J\u202e", "a\0b"])
def test_a_host_that_is_no_name_is_told(host: str) -> None:
    with pytest.raises(UsageError, match=r"--host .*; give an address or a name of this machine"):
        server._listening(host, None)


@pytest.mark.parametrize("host", ["", " ", "0", "0x0", "127.1"])
def test_a_host_that_would_be_another_address_is_told(host: str) -> None:
    with pytest.raises(UsageError, match=r"--host .*: give an address in full"):
        server._listening(host, None)


@pytest.mark.parametrize("page", ["playground.md", "ja/playground.md"])
def test_the_documented_app_serves_the_models(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    (tmp_path / "app.py").write_text(code)
    served: list[Any] = []
    monkeypatch.setattr(server, "load_models", lambda places: {str(p): None for p in places})
    monkeypatch.setattr(server, "serve", lambda models, **at: served.append((models, at)))
    runpy.run_path(str(tmp_path / "app.py"))
    ((models, at),) = served
    assert models == {"model": None}
    assert at["port"] == 7860
