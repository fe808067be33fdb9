"""`jagpt evaluate --suite ja` to its end: lm-evaluation-harness with its own tasks and prompts.

The data sets come from the hub, which is not asked here: folders with their names lie where the
command starts, and `datasets` takes those. Their few rows were written for this. Arguments: a model
folder, the folder with the material.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import lm_eval

NLI = [("犬が走っている。", "動物が走っている。", 0), ("駅に人がいる。", "駅には誰もいない。", 1)]
REVIEWS = [("とても良い製品です。", 0), ("すぐに壊れました。", 1)]
CHOICES = ["京都", "本", "海", "春", "犬"]
QUESTIONS = [("日本の古い都は？", 0), ("読むものは？", 1)]
PASSAGES = [("京都 [SEP] 京都は古い都である。", "古い都はどこか。", "京都")]
SCHEMAS = [("猫が鳴いたので、猫に水をやった。", "猫が鳴いたので、海に水をやった。", "1")]
JGLUE = {
    "JNLI": [{"sentence1": a, "sentence2": b, "label": label} for a, b, label in NLI],
    "MARC-ja": [{"sentence": text, "label": label} for text, label in REVIEWS],
    "JCommonsenseQA": [
        {"question": text, "label": label,
         **{f"choice{number}": choice for number, choice in enumerate(CHOICES)}}
        for text, label in QUESTIONS
    ],
    "JSQuAD": [
        {"context": context, "question": question, "answers": {"text": [answer]}}
        for context, question, answer in PASSAGES
    ],
}  # fmt: skip
XWINOGRAD = [{"sentence1": a, "sentence2": b, "answer": answer} for a, b, answer in SCHEMAS]
SOURCES = Path(__file__).resolve().parents[2] / "src"
TASKS = ["jcommonsenseqa", "jnli", "jsquad", "marc_ja", "xwinograd"]


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_data(place):
    """The data sets' names as folders, with the names of their parts and splits."""
    head = ["---", "configs:"]
    for name, rows in JGLUE.items():
        head += [f"- config_name: {name}", "  data_files:"]
        for split in ("train", "validation"):
            file = f"{name}/{split}.jsonl"
            head += [f"  - split: {split}", f"    path: {file}"]
            write_rows(place / "Rakuten/JGLUE" / file, rows * 4)
    (place / "Rakuten/JGLUE/README.md").write_text("\n".join([*head, "---", ""]), "utf-8")
    write_rows(place / "polm-stability/xwinograd-ja/test.jsonl", XWINOGRAD)


def measured(model, place):
    command = [sys.executable, "-m", "jagpt", "evaluate", "--model", str(model)]
    done = subprocess.run(  # noqa: S603
        [*command, "--suite", "ja", "--json"], cwd=place, capture_output=True, text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCES), "HF_HOME": str(place / "cache")},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"exit code {done.returncode}: {done.stderr[-1500:]}")
    return json.loads(done.stdout)


folder, _ = common.places()
with tempfile.TemporaryDirectory() as made:
    write_data(Path(made))
    (row,) = measured(folder.resolve(), Path(made))
for name in TASKS:
    found = row["tasks"][f"ja_leaderboard_{name}"]
    if not (found["examples"] > 0 and found["metrics"] and found["version"] and found["harness"]):
        sys.exit(f"{name}: {found}")
    if name != "xwinograd" and "### " not in found["prompt"]:  # which has none
        sys.exit(f"{name}: its prompt is not told: {found['prompt']!r}")
common.passed(f"lm-eval {lm_eval.__version__}: --suite ja, {len(TASKS)} tasks on rows of our own")
