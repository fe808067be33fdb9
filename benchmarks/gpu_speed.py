"""The figures of `benchmarks/gpu.py`: memory beside the plan's, tokens/s, share of the peak."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from gpu_rows import SPECIAL, Bench, Row, recipe_of, sequences, skipped
from nanogpt import Decoder
from torch import nn
from torch.nn.functional import cross_entropy
from training_sides import Shape, _write_shards

from jagpt import devices, units
from jagpt.models.size import flops_per_token
from jagpt.plan.memory import memory_of
from jagpt.recipe import Recipe
from jagpt.training import machine, network
from jagpt.training.batches import Batches
from jagpt.training.data import prepare
from jagpt.training.parallel import Learner
from jagpt.training.state import State
from jagpt.training.trainer import Trainer

SMALL = Shape(12, 12, 768, block_size=1024, batch_size=8)
TINY = Shape(2, 2, 64, block_size=64, batch_size=2, vocab_size=512)
GOALS = {"H100": ("share of the peak", 0.5), "H200": ("share of the peak", 0.5),
         "RTX 4090": ("tokens/s", 110_000)}  # fmt: skip
Step = Callable[[], None]


def speed(bench: Bench) -> Iterator[Row]:
    """Steps of GPT-2 small, one micro-batch each, by each side; on a processor a tiny network."""
    shape = _shape(bench)
    precision = devices.best_precision(bench.device)[0] if bench.gpu else "fp32"
    sides = [
        ("jagpt, AdamW", _ours(bench, shape, precision, "adamw", compile_=False)),
        ("jagpt, Muon", _ours(bench, shape, precision, "muon", compile_=False)),
        ("transformers and AdamW", _plain(bench, shape, precision)),
        ("a loop as nanoGPT's", _nano(bench, shape, precision, compile_=bench.gpu)),
    ]
    if bench.gpu:
        sides.insert(1, ("jagpt, AdamW, compiled", _ours(bench, shape, precision, "adamw", True)))
    else:
        yield skipped("speed", "torch.compile takes a minute on a processor")
    if find_spec("accelerate"):
        sides.append(("transformers' Trainer", _trainers(bench, shape, precision)))
    else:
        yield skipped("speed", "transformers' Trainer needs accelerate: pip install 'jagpt[bench]'")
    for name, side in sides:
        yield _row(bench, shape, precision, name, _measured(bench, side))


def memory(bench: Bench) -> Iterator[Row]:
    """The most that a step of ours holds, beside `jagpt plan`'s."""
    if not bench.gpu:
        yield skipped("memory", "on a processor it is not told apart from the libraries'")
        return
    shape = _shape(bench)
    precision = devices.best_precision(bench.device)[0]
    recipe = _recipe(bench, shape, precision, "adamw", compile_=False)
    with _ours(bench, shape, precision, "adamw", compile_=False) as step:
        torch.cuda.reset_peak_memory_stats(bench.device)
        for _ in range(3):
            step()
        found = torch.cuda.max_memory_allocated(bench.device)
    wanted = memory_of(recipe)
    foretold = wanted.total - wanted.reserved
    share = found / foretold
    outcome = "ok" if 0.6 <= share <= 1.2 else "FAILED"
    yield Row("memory", f"of a step of {shape.tokens:,} tokens / plan's {units.size(foretold)}",
              f"{units.size(found)}, {share:.2f}", "0.6 to 1.2", outcome,
              {"found": found, "foretold": foretold})  # fmt: skip


def compiled(bench: Bench) -> Iterator[Row]:
    """The loss of compiled blocks beside that of blocks as they are."""
    if not bench.gpu:
        yield skipped("compiled", "torch.compile takes a minute on a processor")
        return
    batch = sequences(2, SMALL.block_size, SMALL.vocab_size).to(bench.device)
    losses = []
    for compile_ in (False, True):
        recipe = _recipe(bench, SMALL, "fp32", "adamw", compile_)
        made = network.make(recipe, SMALL.vocab_size, SPECIAL, bench.folder, bench.device)
        if compile_:
            _compile(made)
        learner = Learner(made, bench.device)
        with learner.evaluating("fp32"):
            losses.append(learner.nats(batch).item() / batch[:, 1:].numel())
    off = abs(losses[1] / losses[0] - 1)
    yield Row("compiled", "loss beside that of blocks as they are", f"{off:.1e}", "≤ 1e-04",
              "ok" if off <= 1e-4 else "FAILED", {"losses": losses})  # fmt: skip


# --- what is measured -----------------------------------------------------------------------------


def _shape(bench: Bench) -> Shape:
    """GPT-2 small with the largest micro-batch up to 16 for which half of the memory is enough."""
    if not bench.gpu:
        return TINY
    half = torch.cuda.mem_get_info(bench.device)[0] / 2
    recipe = recipe_of(bench, _keys(SMALL), precision=devices.best_precision(bench.device)[0])
    fitting = [size for size in (16, 8, 4, 2) if memory_of(recipe, size).total <= half]
    size = fitting[0] if fitting else 1
    return Shape(12, 12, 768, block_size=1024, batch_size=size)


def _measured(bench: Bench, side: Any) -> tuple[float, int]:
    """Seconds of a step, and the most memory of it (0 on a processor)."""
    warm, count = (5, 20) if bench.gpu else (1, 2)
    with side as step:
        for _ in range(warm):
            step()
        if bench.gpu:
            torch.cuda.reset_peak_memory_stats(bench.device)
        _wait(bench)
        started = time.perf_counter()
        for _ in range(count):
            step()
        _wait(bench)
        seconds = (time.perf_counter() - started) / count
    return seconds, torch.cuda.max_memory_allocated(bench.device) if bench.gpu else 0


def _row(bench: Bench, shape: Shape, precision: str, name: str, found: tuple[float, int]) -> Row:
    seconds, peak = found
    rate = shape.tokens / seconds
    width, layers = shape.n_embd, shape.n_layer
    weights = (shape.vocab_size + shape.block_size) * width + layers * (12 * width + 13) * width
    flops = rate * flops_per_token(weights + 2 * width, layers, width, shape.block_size)
    share = flops / devices.peak(bench.device, precision)
    said = f"{rate:,.0f} tokens/s, {share:.2f} of the peak"
    figures = {
        "tokens/s": rate,
        "share of the peak": share,
        "memory": peak,
        "batch": shape.batch_size,
    }
    what = f"{name}: {precision}, {shape.batch_size} × {shape.block_size:,} tokens"
    goal = next(
        (goal for gpu, goal in GOALS.items() if bench.gpu and gpu in devices.name(bench.device)),
        None,
    )
    if goal is None or not name.startswith("jagpt, AdamW"):
        return Row("speed", what, said + (f", {units.size(peak)}" if peak else ""), "", "", figures)
    wanted = f"goal: {goal[0]} ≥ {goal[1]:,}"
    reached = "ok" if figures[goal[0]] >= goal[1] else "below the goal"
    return Row("speed", what, f"{said}, {units.size(peak)}", wanted, reached, figures)


def _wait(bench: Bench) -> None:
    if bench.gpu:
        torch.cuda.synchronize(bench.device)


# --- the sides ------------------------------------------------------------------------------------


def _keys(shape: Shape) -> dict[str, Any]:
    return {"n_layer": shape.n_layer, "n_head": shape.n_head, "n_embd": shape.n_embd,
            "n_positions": shape.block_size, "dropout": 0.0}  # fmt: skip


def _recipe(bench: Bench, shape: Shape, precision: str, optimizer: str, compile_: bool) -> Recipe:
    return recipe_of(bench, _keys(shape), precision=precision, optimizer=optimizer,
                     compile=compile_, batch_size=shape.batch_size, clip_norm=1.0)  # fmt: skip


def _compile(made: Any) -> None:
    """As training does, where `network.make` has not done it already."""
    if made.base_model._compiled_call_impl is None:
        made.base_model.compile()


@contextmanager
def _ours(
    bench: Bench, shape: Shape, precision: str, optimizer: str, compile_: bool
) -> Iterator[Step]:
    """The trainer's own steps: data, gradient, clipping, update."""
    recipe = _recipe(bench, shape, precision, optimizer, compile_)
    folder = bench.folder / f"speed-{len(list(bench.folder.iterdir()))}"
    folder.mkdir()
    _write_shards(folder / "tokens", shape)
    data, plan = prepare(recipe, folder / "tokens", 1)
    with machine.settings(recipe, bench.device):
        made = network.make(recipe, shape.vocab_size, SPECIAL, folder, bench.device).train()
        if compile_:
            _compile(made)
        with Batches(data.order, bench.device) as batches:
            trainer = Trainer(plan, Learner(made, bench.device), batches)
            state = State()

            def step() -> None:
                nonlocal state
                trainer.take(trainer.gradient(state, lambda: None))
                state = state.stepped(plan)

            yield step


def _gpt2(shape: Shape) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocab_size, n_positions=shape.block_size, n_embd=shape.n_embd,
        n_layer=shape.n_layer, n_head=shape.n_head, embd_pdrop=0.0, attn_pdrop=0.0,
        resid_pdrop=0.0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


@contextmanager
def _plain(bench: Bench, shape: Shape, precision: str) -> Iterator[Step]:
    """transformers' network and loss in a loop of a dozen lines."""
    made = _gpt2(shape).to(bench.device).train()

    def loss(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = made(ids[:, :-1], labels=ids[:, :-1]).loss
        return found

    yield _loop(bench, shape, precision, made, loss)


@contextmanager
def _nano(bench: Bench, shape: Shape, precision: str, compile_: bool) -> Iterator[Step]:
    """A bare decoder, all of it compiled."""
    made: Any = Decoder(shape).to(bench.device)
    called = torch.compile(made) if compile_ else made

    def loss(ids: torch.Tensor) -> torch.Tensor:
        logits = called(ids[:, :-1])
        return cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    yield _loop(bench, shape, precision, made, loss)


def _loop(
    bench: Bench, shape: Shape, precision: str, made: nn.Module,
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> Step:  # fmt: skip
    optimizer = torch.optim.AdamW(made.parameters(), lr=6e-4, fused=True)
    scaler = torch.amp.GradScaler(bench.device.type, enabled=precision == "fp16")
    batches = sequences(64 * shape.batch_size, shape.block_size, shape.vocab_size)
    place = 0
    if bench.gpu:
        torch.set_float32_matmul_precision("high")

    def step() -> None:
        nonlocal place
        ids = batches[place : place + shape.batch_size].to(bench.device, non_blocking=True)
        place = (place + shape.batch_size) % len(batches)
        with devices.autocast(bench.device, precision):
            found = loss(ids)
        scaler.scale(found).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


@contextmanager
def _trainers(bench: Bench, shape: Shape, precision: str) -> Iterator[Step]:
    """transformers' `Trainer` in a thread, which holds it between steps."""
    from queue import Queue
    from threading import Thread

    from transformers import Trainer as Theirs
    from transformers import TrainerCallback, TrainingArguments

    wanted, taken = Queue[bool](), Queue[BaseException | None]()

    class Held(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, _arguments: Any, _state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = not wanted.get()

        def on_step_end(self, _arguments: Any, _state: Any, control: Any, **_: Any) -> None:
            taken.put(None)

    rows = sequences(64 * shape.batch_size, shape.block_size - 1, shape.vocab_size)
    found = [{"input_ids": row, "labels": row} for row in rows]
    arguments = TrainingArguments(
        output_dir=str(bench.folder / "trainer"), max_steps=100_000, disable_tqdm=True,
        per_device_train_batch_size=shape.batch_size, learning_rate=6e-4,
        bf16=precision == "bf16", fp16=precision == "fp16", use_cpu=not bench.gpu,
        logging_strategy="no", save_strategy="no", report_to="none",
        dataloader_pin_memory=bench.gpu,
    )  # fmt: skip
    trainer = Theirs(model=_gpt2(shape), args=arguments, train_dataset=found, callbacks=[Held()])

    def train() -> None:
        try:
            trainer.train()
        except BaseException as error:
            taken.put(error)

    thread = Thread(target=train, daemon=True)
    thread.start()

    def step() -> None:
        wanted.put(True)
        if (error := taken.get()) is not None:
            raise error

    yield step
    wanted.put(False)
    thread.join(timeout=60)


CHECKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "compiled": compiled,
    "memory": memory,
    "speed": speed,
}
