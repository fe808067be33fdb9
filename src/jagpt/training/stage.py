"""The train stage: from token shards to checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel

from jagpt import files, model
from jagpt.errors import DataError, JagptError, UsageError, storage_error
from jagpt.progress import Progress
from jagpt.recipe import Recipe, Train
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, TrainingOrder, validation_windows
from jagpt.training import checkpoints, machine, network
from jagpt.training.checkpoints import Found
from jagpt.training.loop import Data, Training
from jagpt.training.metrics import draw_curve, open_metrics
from jagpt.training.plan import Plan, make_plan
from jagpt.training.stopping import StopRequest


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Train until the recipe's last step, from the newest sound checkpoint if there is one.

    `checkpoints/` must be empty or hold checkpoints of a run that this one may continue
    (`plan.continues`). `DataError` where the tokens are too few for the recipe, `UsageError` where
    this machine lacks what it asks for, `StoppedError` or `KeyboardInterrupt` after an
    interruption, once a checkpoint stands.
    """
    device = machine.choose_device(recipe.execution.device, recipe.train.precision)
    with (
        StopRequest(recipe.execution.max_hours) as stop,
        machine.settings(recipe, device),
        _explained(recipe.train),
    ):
        data, plan = _prepare(recipe, run.tokens)
        for split in ("train", "valid"):  # a changed shard is found now, not after a week
            TokenSplit.open(run.tokens, split).check()
        vocab_size = data.valid.vocab_size
        special = special_ids(run.tokenizer, vocab_size)
        trained = network.make(recipe, vocab_size, special, run.tokenizer, device)
        found = _find(run.own("train"), plan, progress)
        machine.record(run.logs, device, progress, resumed=found.state is not None)
        _announce(trained, plan, device, progress)
        done = found.state.step if found.state else 0
        with open_metrics(run.logs, done, recipe.execution.tensorboard) as metrics:
            Training(
                plan,
                trained,
                data,
                directory=run.own("train"),
                metrics=metrics,
                stop=stop,
                progress=progress,
                found=found,
                log_every=recipe.execution.log_every,
            ).run()
        draw_curve(run.logs)
        if stop.signalled():  # it came too late to break training off, and no other stage starts
            stop.leave("training is done", progress)


def preflight(recipe: Recipe, run: RunDirectory) -> None:
    """Refuse what the machine or the tokens do not allow; raises as `run` does."""
    device = machine.choose_device(recipe.execution.device, recipe.train.precision)
    data, _ = _prepare(recipe, run.tokens)
    network.preflight(recipe, data.valid.vocab_size, run.tokenizer, device)


def special_ids(tokenizer: Path, vocab_size: int) -> model.SpecialIds:
    """Begin, end and padding ids of a tokenizer folder; `DataError` where they do not fit."""
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{tokenizer}: no tokenizer can be loaded here: {error}") from None
    ids = model.SpecialIds(loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id)
    for name, value in vars(ids).items():
        if value is not None and value >= vocab_size:
            raise DataError(
                f"{tokenizer}: the {name} token has id {value}, but the tokens were made with a "
                f"vocabulary of {vocab_size:,}; run the tokens stage again"
            )
    return ids


def _prepare(recipe: Recipe, tokens: Path) -> tuple[Data, Plan]:
    """The data and the plan, refused where they do not fit each other."""
    train = recipe.train
    split, valid = TokenSplit.open(tokens, "train"), TokenSplit.open(tokens, "valid")
    plan = make_plan(recipe.model, train, split.n_tokens)
    order = TrainingOrder(
        split,
        block_size=plan.block_size,
        order=train.order,
        seed=train.seed,
        shuffle_buffer=train.shuffle_buffer,
    )
    if plan.sequences_per_step > order.sequences_per_epoch:
        raise DataError(
            f"{tokens}: a step takes {plan.sequences_per_step:,} sequences (train.batch_size "
            f"{train.batch_size} × train.grad_accum_steps {train.grad_accum_steps}), but the whole "
            f"train split holds {order.sequences_per_epoch:,.1f} of {plan.block_size:,} tokens; "
            "lower one of them or train.block_size, or add text"
        )
    if train.warmup_steps > plan.total_steps:
        raise UsageError(
            f"train.warmup_steps: found {train.warmup_steps:,}, but train.max_epochs = "
            f"{train.max_epochs} makes {plan.total_steps:,} steps here; lower it"
        )
    next(validation_windows(valid, plan.block_size, train.validate_tokens))
    return Data(order, valid), plan


def _find(directory: Path, plan: Plan, progress: Progress) -> Found:
    """Where the run goes on; damaged checkpoints are named, and one before them is used."""
    files.make_directory(directory)
    for left_over in directory.glob(files.STAGING_PREFIX + "*"):
        files.remove(left_over)
    found = checkpoints.find(directory, plan)
    for problem in found.damaged.values():
        progress.say(f"warning: {problem}")
    if found.state is not None:
        progress.say(f"going on from the checkpoint of step {found.state.step:,}")
    elif found.damaged:
        progress.say("no sound checkpoint is left: training starts again from step 0")
    return found


def _announce(
    trained: PreTrainedModel, plan: Plan, device: torch.device, progress: Progress
) -> None:
    millions = model.parameter_count(trained) / 1e6
    progress.say(
        f"{millions:,.1f} M parameters, {plan.total_steps:,} steps of {plan.tokens_per_step:,} "
        f"tokens, {plan.train.precision} on {device.type} "
        f"({torch.get_num_threads()} threads)"
    )


@contextmanager
def _explained(train: Train) -> Iterator[None]:
    """Out of memory and refusals of the disk, in the user's words."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, "training") from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise JagptError(_out_of_memory(train)) from error
        raise


def _out_of_memory(train: Train) -> str:
    if train.batch_size == 1:
        return (
            "out of memory with train.batch_size = 1: lower train.block_size, or make the model "
            "smaller ([model] n_layer, n_embd)"
        )
    smaller = train.batch_size // 2
    more = -(-train.batch_size * train.grad_accum_steps // smaller)
    return (
        f"out of memory with train.batch_size = {train.batch_size}: "
        f"--set train.batch_size={smaller} --set train.grad_accum_steps={more} keeps the tokens "
        "a step and needs about half the memory"
    )
