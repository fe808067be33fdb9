"""The checks of `benchmarks/gpu.py` that are right or wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import kill
import torch
import torch.distributed as dist
from gpu_rows import SPECIAL, TINY, Bench, Row, judged, recipe_of, sequences, skipped
from torch import Tensor, nn

from jagpt.errors import JagptError
from jagpt.models.checkpoint_folder import standing
from jagpt.progress import QUIET, Progress
from jagpt.recipe import parse
from jagpt.rundir import RunDirectory
from jagpt.training import distributed, network, session
from jagpt.training.batches import Batches
from jagpt.training.data import prepare
from jagpt.training.distributed import Group
from jagpt.training.metrics import METRICS
from jagpt.training.parallel import Learner, LossModule, _replicated
from jagpt.training.ranks import read
from jagpt.training.state import State
from jagpt.training.trainer import Trainer

DEVIATIONS = {
    "fp32": (1e-6, 1e-5),
    "TF32": (1e-4, 5e-3),
    "bf16": (2e-3, 3e-2),
    "fp16": (5e-4, 5e-3),
}
"""Most that loss and gradient may be off, as shares of themselves."""
WIDER = {**TINY, "n_embd": 128, "n_positions": 128, "dropout": 0.0}
CPU = torch.device("cpu")


def precisions(bench: Bench) -> Iterator[Row]:
    """Loss and gradient of one network beside those of a processor in fp32."""
    batch = sequences(4, 128)
    loss, gradient = _loss_and_gradient(bench, CPU, "fp32", batch)
    for name in DEVIATIONS if bench.gpu else ("fp32", "bf16"):
        with _products("high" if name == "TF32" else "highest"):
            precision = "fp32" if name == "TF32" else name
            other, slope = _loss_and_gradient(bench, bench.device, precision, batch)
        for what, found, most in (
            ("loss", abs(other / loss - 1), DEVIATIONS[name][0]),
            ("gradient", float((slope - gradient).norm() / gradient.norm()), DEVIATIONS[name][1]),
        ):
            yield judged("precisions", f"{name}, {what} beside a processor's", found, most)
    if not bench.gpu:
        yield skipped("precisions", "TF32 and fp16 need a GPU")


def _loss_and_gradient(
    bench: Bench, device: torch.device, precision: str, batch: Tensor
) -> tuple[float, Tensor]:
    learner = _learner(bench, device)
    scale = torch.full((), 1024.0 / batch[:, 1:].numel(), device=device)
    with learner.autocast(precision):
        nats = learner.nats(batch.to(device), scale)
        with torch.autocast(device.type, enabled=False):
            nats.backward()
    return nats.item() / 1024, _gradient(learner.network) / 1024


def _learner(bench: Bench, device: torch.device) -> Learner:
    recipe = recipe_of(bench, WIDER)
    made = network.make(recipe, kill.VOCAB_SIZE, SPECIAL, bench.folder, device)
    return Learner(made.train(), device)


def _gradient(model: nn.Module) -> Tensor:
    parts = [
        p.grad.detach().float().cpu().flatten() for p in model.parameters() if p.grad is not None
    ]
    return torch.cat(parts)


@contextmanager
def _products(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def scaler(bench: Bench) -> Iterator[Row]:
    """fp16: a scale that is far too large is lowered without a step; then the loss falls."""
    if not bench.gpu:
        yield skipped("scaler", "fp16 needs a GPU")
        return
    with _trainer(bench, precision="fp16", learning_rate=1e-3, warmup_steps=0) as trainer:
        trainer._scaler.load_state_dict({**trainer.scaler_state(), "scale": 2.0**40})
        before = [p.detach().clone() for p in trainer._network.parameters()]
        first = trainer.gradient(State(), lambda: None)
        trainer.take(first)
        same = all(map(torch.equal, before, trainer._network.parameters()))
        losses = []
        for number in range(60):
            step = trainer.gradient(
                State(step=number + 1), lambda: None
            )  # one batch, over and over
            trainer.take(step)
            losses.append(step.numbers()[0])
        scale = float(trainer.scaler_state()["scale"])
    outcome = "ok" if same and scale < 2.0**40 else "FAILED"
    yield Row("scaler", "scale of 2⁴⁰, then", f"{scale:.0f}", "lower, weights kept", outcome)
    falls = losses[-1] < losses[30] - 0.1
    found = f"{losses[30]:.2f} → {losses[-1]:.2f}"
    yield Row("scaler", "loss afterwards", found, "falls", "ok" if falls else "FAILED")


def dropout(bench: Bench) -> Iterator[Row]:
    """Shares and scale of what dropout keeps, and of attention's."""
    recipe = recipe_of(bench, {**TINY, "dropout": 0.1})
    made: Any = network.make(recipe, kill.VOCAB_SIZE, SPECIAL, bench.folder, bench.device).train()
    ones = torch.ones(1 << 20, device=bench.device)
    torch.manual_seed(1)
    first, second = made.transformer.drop(ones), made.transformer.drop(ones)
    kept = float((first != 0).float().mean())
    yield judged("dropout", "share kept − 0.9", abs(kept - 0.9), 2e-3, kept=kept)
    yield judged("dropout", "mean − 1", abs(float(first.mean()) - 1), 3e-3)
    both = float(((first != 0) & (second != 0)).float().mean())
    yield judged("dropout", "two draws: share kept in both − 0.81", abs(both - 0.81), 3e-3)
    torch.manual_seed(1)
    again = torch.equal(first, made.transformer.drop(ones))
    yield Row("dropout", "the same seed", "equal" if again else "other", "equal", _ok(again))
    shape = (4, 4, 128, 32)
    query, key = (torch.randn(shape, device=bench.device) for _ in range(2))
    value = torch.ones(shape, device=bench.device)
    found = nn.functional.scaled_dot_product_attention(
        query, key, value, dropout_p=0.1, is_causal=True
    )
    yield judged("dropout", "attention over ones: mean − 1", abs(float(found.mean()) - 1), 2e-2)


def bits(bench: Bench) -> Iterator[Row]:
    """Two runs, and one that was killed and went on: the same bytes of every checkpoint."""
    precision = "bf16" if bench.gpu else "fp32"
    steps = 200 if bench.gpu else 20
    wanted = {"execution.device": bench.device.type, "train.precision": precision,
              "train.max_steps": steps, "train.warmup_steps": 5, "train.checkpoint_every": 5,
              "train.validate_every": 10, "train.deterministic": "true"}  # fmt: skip
    recipe = parse(kill.RECIPE, overrides=[f"{key}={value}" for key, value in wanted.items()])
    inputs = kill.inputs_of(bench.folder / "bits")
    runs = [RunDirectory(bench.folder / name, inputs) for name in ("once", "twice", "killed")]
    for run in runs[:2]:
        kill.seconds_of(kill.start(recipe, run))
    process, deadline = kill.start(recipe, runs[2]), time.monotonic() + 120
    while max(standing(runs[2].own("train")), default=0) < 5 and process.exitcode is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    stood = max(standing(runs[2].own("train")), default=0)
    kill.seconds_of(kill.start(recipe, runs[2]))
    once, twice, killed = (kill.sums_of(run.own("train")) for run in runs)
    yield Row("bits", f"two runs of {steps} steps in {precision}", _equal(once == twice), "equal",
              _ok(once == twice))  # fmt: skip
    yield Row("bits", f"killed after step {stood}, gone on", _equal(once == killed), "equal",
              _ok(once == killed))  # fmt: skip


def ranks(bench: Bench) -> Iterator[Row]:
    """DDP and FSDP2 beside the network alone: one process through the same code."""
    batch = sequences(4, 128)
    loss, gradient = _loss_and_gradient(bench, bench.device, "fp32", batch)
    backend = "nccl" if bench.gpu else "gloo"
    options: dict[str, Any] = {"device_id": torch.device("cuda", 0)} if bench.gpu else {}
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=0, world_size=1, **options)
    try:
        for name, wrap in (("DDP", _with_ddp), ("FSDP2", _with_fsdp)):
            module, model = wrap(bench)
            scale = torch.full((), 1.0 / batch[:, 1:].numel(), device=bench.device)
            nats = module(batch.to(bench.device), scale)
            nats.backward()
            parts = [p.grad for p in model.parameters() if p.grad is not None]
            whole = [
                getattr(p, "full_tensor", lambda p=p: p)().float().cpu().flatten() for p in parts
            ]
            off = float((torch.cat(whole) - gradient).norm() / gradient.norm())
            yield judged("ranks", f"{name} over {backend}, loss", abs(nats.item() / loss - 1), 1e-5)
            yield judged("ranks", f"{name} over {backend}, gradient", off, 1e-4)
    finally:
        dist.destroy_process_group()
    if torch.cuda.device_count() < 2:
        yield skipped("ranks", "two processes over nccl need two GPUs")
    else:
        yield from _two_ranks(bench)


def _with_ddp(bench: Bench) -> tuple[nn.Module, nn.Module]:
    device = torch.device("cuda", 0) if bench.gpu else bench.device
    learner = _learner(bench, device)
    return _replicated(LossModule(learner.network), device, idle=False), learner.network


def _with_fsdp(bench: Bench) -> tuple[nn.Module, nn.Module]:
    learner = _learner(bench, bench.device)
    learner._root.at_once = False
    learner._shard()
    return learner._root, learner.network


def _two_ranks(bench: Bench) -> Iterator[Row]:
    """Two processes, replicated and sharded, beside one: the losses of one recipe."""
    inputs = kill.inputs_of(bench.folder / "ranks")
    found = {}
    for name, count in (("one", 1), ("ddp", 2), ("fsdp", 2)):
        run = bench.folder / f"ranks-{name}"
        settings = [
            f"execution.distributed={name if count > 1 else 'ddp'}",
            f"execution.device={bench.device.type}",
            "execution.log_every=1",
            "train.max_steps=20",
        ]
        path = bench.folder / f"{name}.toml"
        path.write_text(parse(kill.RECIPE, overrides=settings).to_toml(), "utf-8")
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(count),
        ]
        arguments = [str(path), str(run), str(inputs["tokens"]), str(inputs["tokenizer"])]
        command = [*launch, __file__, *arguments]
        subprocess.run(command, check=True, timeout=180)  # noqa: S603
        lines = (RunDirectory(run).logs / METRICS).read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        found[name] = [row["loss"] for row in rows if row["kind"] == "train"]
    for name in ("ddp", "fsdp"):
        pairs = zip(found[name], found["one"], strict=True)
        worst = max(abs(two / one - 1) for two, one in pairs)
        yield judged("ranks", f"two processes, {name}: 20 losses beside one's", worst, 1e-4)


def train_as_rank(recipe: str, run: str, tokens: str, tokenizer: str) -> None:
    """What a process of `_two_ranks` does."""
    mine = read(os.environ)
    with ExitStack() as stack:
        if mine.size > 1:
            stack.enter_context(distributed.connected(mine))
            distributed.current().order(distributed.TRAIN)
        made = parse(Path(recipe).read_text("utf-8"))
        inputs = {"tokens": Path(tokens), "tokenizer": Path(tokenizer)}
        session.run(made, RunDirectory(Path(run), inputs), QUIET)


def memory_runs_out(bench: Bench) -> Iterator[Row]:
    """A batch that does not fit: a sentence, or a smaller one; then training works."""
    if not bench.gpu:
        yield skipped("memory runs out", "a processor's memory is not its own")
        return
    said: list[str] = []

    class Heard(Progress):
        def say(self, text: str) -> None:
            said.append(text)

    inputs = kill.inputs_of(bench.folder / "full")
    total = torch.cuda.get_device_properties(bench.device).total_memory
    settings = ["train.batch_size=64", "train.grad_accum_steps=1", "train.max_steps=3",
                "train.warmup_steps=0", f"execution.device={bench.device.type}",
                "model.n_embd=512", "model.n_layer=8"]  # fmt: skip
    torch.cuda.set_per_process_memory_fraction(min(1.0, 0.6e9 / total))
    try:
        recipe = parse(kill.RECIPE, overrides=settings)
        session.run(recipe, RunDirectory(bench.folder / "full-run", inputs), Heard("quiet"))
        what = next((text for text in said if "out of memory" in text), "it did not run out")
    except JagptError as error:
        what = str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    told = "out of memory" in what and "batch" in what
    yield Row("memory runs out", "said", what[:160], "the way out", _ok(told))
    with _trainer(bench) as trainer:
        trainer.take(trainer.gradient(State(), lambda: None))
    yield Row("memory runs out", "a step afterwards", "taken", "taken", "ok")


def ahead(bench: Bench) -> Iterator[Row]:
    """Batches that a thread fetches ahead, from pinned memory on a GPU, are those of no thread."""
    inputs = kill.inputs_of(bench.folder / "ahead")
    data, _ = prepare(recipe_of(bench, TINY), inputs["tokens"], 1)
    with (
        Batches(data.order, bench.device, ahead=True) as early,
        Batches(data.order, CPU, ahead=False) as plain,
    ):
        same = all(
            torch.equal(early.get(n * 8, 8, (n + 1) * 8).cpu(), plain.get(n * 8, 8))
            for n in range(20)
        )
    pinned = "pinned memory" if bench.gpu else "a thread"
    yield Row("ahead", f"20 batches through {pinned}", _equal(same), "equal", _ok(same))


@contextmanager
def _trainer(bench: Bench, **train: Any) -> Iterator[Trainer]:
    inputs = kill.inputs_of(bench.folder / f"trainer-{len(list(bench.folder.iterdir()))}")
    recipe = recipe_of(bench, TINY, **train)
    data, plan = prepare(recipe, inputs["tokens"], Group().size)
    made = network.make(recipe, kill.VOCAB_SIZE, SPECIAL, bench.folder, bench.device).train()
    with Batches(data.order, bench.device) as batches:
        yield Trainer(plan, Learner(made, bench.device), batches)


def _ok(right: bool) -> str:
    return "ok" if right else "FAILED"


def _equal(same: bool) -> str:
    return "equal" if same else "DIFFER"


CHECKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "precisions": precisions,
    "scaler": scaler,
    "dropout": dropout,
    "bits": bits,
    "ranks": ranks,
    "memory runs out": memory_runs_out,
    "ahead": ahead,
}

if __name__ == "__main__":
    train_as_rank(*sys.argv[1:])
