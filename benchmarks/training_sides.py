"""What the processes of `benchmarks/training.py` run: whole optimizer steps, held between them."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turns import Turns

LEARNING_RATE = 6e-4
DOCUMENT_TOKENS = 700
SEED = 1000
MANY_STEPS = 1_000_000
"""More than are ever taken: the schedule stays at its beginning, and nothing is saved."""


@dataclass(frozen=True)
class Shape:
    """A network and its micro-batch."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    vocab_size: int = 32_000

    @property
    def tokens(self) -> int:
        """Tokens a micro-batch."""
        return self.block_size * self.batch_size


@dataclass(frozen=True)
class Side:
    """What one process trains with; `kind` is ours, Trainer's or a plain loop.

    `precision` None is that of the comparison: what the machine has, if nothing else is asked for.
    """

    name: str
    kind: str
    precision: str | None
    optimizer: str
    dropout: float

    def shown(self, precision: str) -> str:
        """The name, with the comparison's precision where it is this side's."""
        return self.name.format(precision=precision)


SHAPES = {
    "tiny": Shape(4, 4, 128, block_size=512, batch_size=2),
    "small": Shape(12, 12, 768, block_size=1024, batch_size=2),
    "quickstart": Shape(4, 4, 192, block_size=256, batch_size=8, vocab_size=2000),
}
SIDES = {
    "original": Side(
        "(a) the original's loop: fp32, dropout 0.1, Adam", "plain", "fp32", "adam", 0.1
    ),
    "trainer-dropout": Side(
        "(b) transformers' Trainer: {precision}, dropout 0.1, AdamW", "trainer", None, "adamw", 0.1
    ),
    "trainer": Side(
        "(c) transformers' Trainer: {precision}, no dropout, AdamW", "trainer", None, "adamw", 0.0
    ),
    "plain": Side(
        "(d) a plain loop of the network: fp32, dropout 0.1, AdamW", "plain", "fp32", "adamw", 0.1
    ),
    "muon": Side("jagpt: {precision}, no dropout, Muon", "ours", None, "muon", 0.0),
    "dropout": Side("jagpt: {precision}, dropout 0.1, AdamW", "ours", None, "adamw", 0.1),
    "adamw": Side("jagpt: {precision}, no dropout, AdamW", "ours", None, "adamw", 0.0),
    "muon-dropout": Side("jagpt: {precision}, dropout 0.1, Muon", "ours", None, "muon", 0.1),
}
PRODUCTS = "products"


def shape_of(name: str) -> Shape:
    """A shape by its name, or layers, heads, width, block, batch and pieces with commas."""
    return SHAPES[name] if name in SHAPES else Shape(*map(int, name.split(",")))


def serve(side: str, model: str, device_name: str, micro_batches: int, precision: str) -> None:
    """Take steps of `micro_batches` for as long as they are asked for."""
    from jagpt import devices

    shape = shape_of(model)
    if precision == "auto":
        precision, _ = devices.best_precision(devices.choose(device_name))
    if side == PRODUCTS:
        device = devices.choose(device_name, precision)
        _take_products(shape, device, devices.DTYPES[precision], Turns(device))
    chosen = SIDES[side]
    chosen = replace(chosen, precision=chosen.precision or precision)
    device = devices.choose(device_name, str(chosen.precision))
    turns = Turns(device)
    with tempfile.TemporaryDirectory(prefix="jagpt-bench-") as folder:
        take = {
            "ours": _take_our_steps,
            "trainer": _take_trainers_steps,
            "plain": _take_plain_steps,
        }
        take[chosen.kind](chosen, shape, micro_batches, device, turns, Path(folder))


class Clock:
    """Times micro-batches by the network's own hooks, alike for every side.

    A micro-batch lasts from one forward pass to the next, the last until the embeddings, whose
    gradients come at the very end, have theirs. Everything else of a step is the optimizer's.
    """

    def __init__(self, network: Any, device: Any) -> None:
        self._device = device
        self._starts: list[float] = []
        self._end = 0.0
        network.base_model.register_forward_pre_hook(lambda *_: self._starts.append(self._now()))
        for embedding in (network.transformer.wte, network.transformer.wpe):
            embedding.weight.register_post_accumulate_grad_hook(self._ended)
        self.began = self._now()

    def _ended(self, _: Any) -> None:
        self._end = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def lap(self) -> dict[str, float]:
        """Seconds of a mean micro-batch, and of the rest of the step that ends now."""
        ends = [*self._starts[1:], self._end]
        micro = sum(ends) - sum(self._starts)
        numbers = {"micro": micro / len(ends), "optimizer": self._now() - self.began - micro}
        self._starts.clear()
        return numbers

    def begin(self) -> None:
        self.began = self._now()


# --- jagpt ----------------------------------------------------------------------------------------


def _take_our_steps(
    side: Side, shape: Shape, micro_batches: int, device: Any, turns: Turns, folder: Path
) -> None:
    """The real loop on generated shards; it is held between steps where it logs."""
    from jagpt.models import build
    from jagpt.progress import QUIET
    from jagpt.recipe import parse
    from jagpt.training import machine, network
    from jagpt.training.batches import Batches
    from jagpt.training.checkpoints import Found
    from jagpt.training.data import prepare
    from jagpt.training.distributed import Group
    from jagpt.training.fit import fit
    from jagpt.training.keeper import Keeper
    from jagpt.training.parallel import Learner
    from jagpt.training.reporter import Reporter
    from jagpt.training.samples import Continuer
    from jagpt.training.stopping import StopRequest
    from jagpt.training.trainer import Trainer
    from jagpt.training.validation import Validator

    recipe = parse(_recipe(side, shape, micro_batches))
    _write_shards(folder / "tokens", shape)
    data, plan = prepare(recipe, folder / "tokens", ranks=1)
    with machine.settings(recipe, device):
        made = network.make(recipe, shape.vocab_size, build.SpecialIds(2, 3, 0), folder, device)
        clock = Clock(made, device)
        learner = Learner(made, device)
        tokenizer: Any = None  # no prompt is continued
        with Batches(data.order, device) as batches:
            turns.wait()
            clock.begin()
            fit(
                plan,
                Trainer(plan, learner, batches),
                Validator(plan, learner, data.valid, Continuer(tokenizer, (), 1, SEED)),
                Keeper(folder, plan, Found(), Group(), {}),
                Reporter(plan, learner, _held(turns, clock), QUIET, log_every=1),
                StopRequest(),
            )


def _held(turns: Turns, clock: Clock) -> Any:
    """Metrics that answer with a step's seconds and hold the loop until the next is wanted."""
    from jagpt.training.metrics import Metrics

    class Held(Metrics):
        def train(self, step: int, tokens: int, **values: Any) -> None:
            super().train(step, tokens, **values)
            turns.answer(clock.lap())
            turns.wait()
            clock.begin()

    return Held()


def _recipe(side: Side, shape: Shape, micro_batches: int) -> str:
    return f"""
name = "benchmark"
[[corpus.source]]
name = "none"
kind = "text"
path = "none.txt"
[model]
n_layer = {shape.n_layer}
n_head = {shape.n_head}
n_embd = {shape.n_embd}
n_positions = {shape.block_size}
dropout = {side.dropout}
[train]
seed = {SEED}
batch_size = {shape.batch_size}
grad_accum_steps = {micro_batches}
max_steps = {MANY_STEPS}
validate_every = {MANY_STEPS}
checkpoint_every = {MANY_STEPS}
optimizer = "{side.optimizer}"
learning_rate = {LEARNING_RATE}
schedule = "wsd"
clip_norm = 1.0
precision = "{side.precision}"
[execution]
tensorboard = false
"""


def _write_shards(directory: Path, shape: Shape) -> None:
    """Random tokens for more steps than are taken, and as many to validate on as must be there."""
    import numpy as np

    from jagpt.tokens.index import ShardSize, TokenIndex, dtype_for
    from jagpt.tokens.shards import ShardWriter

    directory.mkdir()
    random = np.random.default_rng(SEED)
    documents = {"train": 256 * shape.tokens // DOCUMENT_TOKENS, "valid": 8}
    splits = {}
    for split, count in documents.items():
        name = f"{split}-00000"
        with (directory / f"{name}.bin").open("wb") as binary:
            writer = ShardWriter(binary, dtype_for(shape.vocab_size))
            for document in range(count):
                ids = random.integers(6, shape.vocab_size, DOCUMENT_TOKENS)
                writer.add(f"{split}:{document}", "あ" * DOCUMENT_TOKENS, ids)
            writer.finish(directory / f"{name}.idx")
        tokens = count * DOCUMENT_TOKENS
        splits[split] = [ShardSize(name, count, tokens, tokens, 3 * tokens)]
    TokenIndex(dtype_for(shape.vocab_size), shape.vocab_size, 3, "benchmark", splits).write(
        directory
    )


# --- others ---------------------------------------------------------------------------------------


def _network(side: Side, shape: Shape) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.block_size,
        n_embd=shape.n_embd,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        embd_pdrop=side.dropout,
        attn_pdrop=side.dropout,
        resid_pdrop=side.dropout,
        bos_token_id=2,
        eos_token_id=3,
    )
    return GPT2LMHeadModel(config)


def _take_plain_steps(
    side: Side, shape: Shape, micro_batches: int, device: Any, turns: Turns, folder: Path
) -> None:
    """As the original's script: its model, its loss, its optimizer, in fp32 on this machine."""
    import numpy as np
    import torch

    network = _network(side, shape).to(device)
    network.train()
    kind = torch.optim.Adam if side.optimizer == "adam" else torch.optim.AdamW
    optimizer = kind(network.parameters(), lr=1e-4)
    random = np.random.default_rng(SEED)
    clock = Clock(network, device)
    while True:
        turns.wait()
        clock.begin()
        for _ in range(micro_batches):
            size = (shape.batch_size, shape.block_size)
            ids = torch.from_numpy(random.integers(6, shape.vocab_size, size)).to(device)
            (network(ids, labels=ids).loss / micro_batches).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.answer(clock.lap())


def _take_trainers_steps(
    side: Side, shape: Shape, micro_batches: int, device: Any, turns: Turns, folder: Path
) -> None:
    """transformers' `Trainer` with its defaults, held between steps by a callback."""
    import numpy as np
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    network = _network(side, shape)
    clock = Clock(network, device)

    class Held(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.answer(clock.lap())
            turns.wait()
            clock.begin()

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return MANY_STEPS

        def __getitem__(self, number: int) -> dict[str, Any]:
            random = np.random.default_rng((SEED, number))
            ids = torch.from_numpy(random.integers(6, shape.vocab_size, shape.block_size))
            return {"input_ids": ids, "labels": ids}

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=MANY_STEPS,
        per_device_train_batch_size=shape.batch_size,
        gradient_accumulation_steps=micro_batches,
        learning_rate=LEARNING_RATE,
        bf16=side.precision == "bf16",
        fp16=side.precision == "fp16",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=SEED,
    )
    trainer = Trainer(model=network, args=arguments, train_dataset=Rows(), callbacks=[Held()])
    turns.wait()
    clock.begin()
    trainer.train()


def product_shapes(shape: Shape) -> dict[str, tuple[int, int, int]]:
    """The network's matrix products (rows, inner, columns), and a large square one."""
    rows, width = shape.tokens, shape.n_embd
    return {
        "Q, K, V": (rows, width, 3 * width),
        "attention's output": (rows, width, width),
        "MLP up": (rows, width, 4 * width),
        "MLP down": (rows, 4 * width, width),
        "vocabulary": (256, width, shape.vocab_size),
        "4096³": (4096, 4096, 4096),
    }


def _take_products(shape: Shape, device: Any, dtype: Any, turns: Turns) -> None:
    """FLOP/s of each product, half a second each."""
    import torch

    pairs = {}
    for name, (rows, inner, columns) in product_shapes(shape).items():
        left = torch.randn(rows, inner, device=device).to(dtype)
        right = torch.randn(inner, columns, device=device).to(dtype)
        pairs[name] = (left, right)

    def rate(left: Any, right: Any) -> float:
        flops: int = 2 * left.shape[0] * left.shape[1] * right.shape[1]
        _finished(left @ right, device)
        started, count = time.perf_counter(), 0
        while (seconds := time.perf_counter() - started) < 0.5:
            _finished(left @ right, device)
            count += 1
        return count * flops / seconds

    while True:
        turns.wait()
        turns.answer({name: rate(*pair) for name, pair in pairs.items()})


def _finished(_: Any, device: Any) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
