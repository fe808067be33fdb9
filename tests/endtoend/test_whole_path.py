"""One command from a dump to a model that transformers loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from processes import jagpt

from .conftest import command, settings

STAGES = ["corpus", "tokenizer", "tokens", "train", "evaluate", "export", "formats", "release"]


def test_the_run_ends_with_a_table_continuations_and_places(finished: Path) -> None:
    shown = (finished.parent / "stdout.txt").read_text()
    for words in (
        *STAGES,
        "documents",
        "valid loss",
        "test loss",
        "perplexity",
        "bits per character",
    ):
        assert words in shown.replace("\n", " ")
    assert shown.count("• 統計的推定を使うことで、") == 3
    assert str(finished / "model") in shown.replace("\n", "")
    assert "demonstration" in shown


def test_a_second_run_does_nothing_and_needs_no_torch(finished: Path) -> None:
    program = (
        "import sys; from jagpt import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as leave: assert not leave.code\n"
        "assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules"
    )
    arguments = ["run", "quickstart", "--run-dir", str(finished), *settings()]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "all stages are done" in done.stdout


def test_json_has_the_figures_of_the_table(finished: Path) -> None:
    done = jagpt("run", "quickstart", "--run-dir", finished, *settings(), "--json")
    found = json.loads(done.stdout)
    assert found["ran"] == []
    assert found["done"] == STAGES
    evaluation = json.loads((finished / "evaluation" / "test.json").read_text())
    assert found["test_loss"] == evaluation["loss"]
    assert found["tokens"]["train"] > 10_000
    assert len(found["samples"][0]["continuations"]) == 3


def test_the_figures_agree_with_each_other(finished: Path) -> None:
    corpus = json.loads((finished / "corpus" / "stats.json").read_text())["splits"]["test"]
    found = json.loads((finished / "evaluation" / "test.json").read_text())
    assert (found["documents"], found["characters"], found["bytes"]) == (
        corpus["documents"],
        corpus["characters"],
        corpus["bytes"],
    )


def test_the_model_loads_and_generates_without_jagpt(finished: Path) -> None:
    program = (
        "import sys; sys.modules['jagpt'] = None\n"
        "from transformers import AutoTokenizer, AutoModelForCausalLM as M\n"
        "for folder in sys.argv[1:]:\n"
        "    t = AutoTokenizer.from_pretrained(folder); m = M.from_pretrained(folder)\n"
        "    ids = t('統計的推定を使うことで、', return_tensors='pt').input_ids\n"
        "    out = m.generate(ids, max_new_tokens=8, num_return_sequences=3)\n"
        "    texts = t.batch_decode(out)\n"
        "    assert len(texts) == 3\n"
        "    assert all(x.startswith('統計的推定を使うことで、') for x in texts)\n"
        "    g = m.generation_config; assert (g.do_sample, g.top_k, g.top_p) == (True, 50, 0.95)"
    )
    folders = [finished / "model", finished / "release"]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program, *folders],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_release_folder_is_whole(finished: Path) -> None:
    names = {path.name for path in (finished / "release").iterdir()}
    assert {"README.md", "CHANGELOG.md", ".gitattributes", "model.safetensors"} <= names
    assert "*.safetensors filter=lfs" in (finished / "release" / ".gitattributes").read_text()


def test_verify_finds_everything_as_it_was_made(finished: Path) -> None:
    done = jagpt("verify", finished)
    assert done.returncode == 0, done.stderr
    assert all(f"{stage}: " in done.stdout for stage in STAGES)


def test_a_finished_stage_leaves_nothing_unlisted(finished: Path) -> None:
    assert not list(finished.rglob("in-progress.json"))
    assert not list(finished.rglob(".staging-*"))


def test_a_changed_rate_is_stale_and_why_is_said(copied: Callable[..., Path]) -> None:
    run = copied()
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(
        recipe.replace("learning_rate = 0.001", "learning_rate = 0.002")
    )
    found = json.loads(jagpt("status", run, "--json").stdout)["stages"]
    assert [row["status"] for row in found] == ["done"] * 3 + ["stale"] * 5
    assert found[3]["reasons"] == ["[train] learning_rate: 0.001 → 0.002"]


def test_a_fresh_process_workers_and_other_logging_change_no_byte(
    finished: Path, tmp_path: Path
) -> None:
    changed = settings(execution__workers="2", execution__log_every="7")
    whole = command("run", "quickstart", "--run-dir", tmp_path / "run", *changed)
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def tree(root: Path) -> dict[str, bytes]:
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and path.parent.name not in ("logs", "run")
        }

    assert tree(finished) == tree(tmp_path / "run")


def test_generate_reads_a_run_directory(finished: Path) -> None:
    done = jagpt("generate", finished, "日本の", "富士山は", "--max-new-tokens", "5", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["prompt"] for row in json.loads(done.stdout)] == ["日本の", "富士山は"]


def test_report_compares_runs(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    done = jagpt("report", finished, finished, "--output", page)
    assert done.returncode == 0, done.stderr
    assert "<svg" in page.read_text()
    assert jagpt("report", finished, "--output", page).returncode == 0
    page.write_text("notes")
    refused = jagpt("report", finished, "--output", page)
    assert (refused.returncode, page.read_text()) == (2, "notes")
    assert "this file is no report" in refused.stderr
