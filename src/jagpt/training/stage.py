"""The train stage: from token shards to checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jagpt import devices, files, units
from jagpt.errors import DataError, JagptError, UsageError, storage_error
from jagpt.models import build, load_tokenizer, size
from jagpt.models.checkpoint_folder import step_name
from jagpt.progress import Progress
from jagpt.recipe import Recipe, Train
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, TrainingOrder, validation_windows
from jagpt.training import checkpoints, distributed, embeddings, machine, network, trackers
from jagpt.training.bad_steps import Rewound
from jagpt.training.checkpoints import Found, State, as_json, from_json
from jagpt.training.distributed import Group
from jagpt.training.loop import Data, Training
from jagpt.training.loss import separates_documents
from jagpt.training.metrics import Metrics, draw_curve, open_metrics
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan, make_plan
from jagpt.training.samples import Sampler
from jagpt.training.stopping import StopRequest


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Train until the recipe's last step, from the newest sound checkpoint if there is one.

    Each rank of `distributed.current()` calls this; only rank 0 writes. `checkpoints/` must be
    empty or hold checkpoints of a run that this one may continue (`plan.continues`). `DataError`
    where the tokens are too few for the recipe, `UsageError` where this machine lacks what it asks
    for, `StoppedError` or `KeyboardInterrupt` after an interruption, once a checkpoint stands.
    """
    group = distributed.current()
    device = _device(recipe, group)
    with (
        StopRequest(recipe.execution.max_hours) as stop,
        machine.settings(recipe, device),
        _explained(recipe.train, group),
        distributed.explained(group),
    ):
        data, plan = _prepare(recipe, run.tokens, group)
        for split in ("train", "valid"):  # a changed shard is found now, not after a week
            TokenSplit.open(run.tokens, split).check()
        with group.training(device):
            _check_agreement(recipe, plan, group)
            _train(recipe, run, data, plan, group, device, stop, progress)
        if group.main:
            draw_curve(run.logs)
        if stop.signalled():  # it came too late to break training off, and no other stage starts
            stop.leave("training is done", progress)


def preflight(recipe: Recipe, run: RunDirectory) -> None:
    """Refuse what the machine or the tokens do not allow; raises as `run` does."""
    group = distributed.current()
    device = _device(recipe, group)
    trackers.check(recipe.execution.trackers)
    data, _ = _prepare(recipe, run.tokens, group)
    network.preflight(recipe, data.valid.vocab_size, run.tokenizer, device)


def _device(recipe: Recipe, group: Group) -> torch.device:
    return machine.device_of(recipe, group.ranks)


def _train(
    recipe: Recipe,
    run: RunDirectory,
    data: Data,
    plan: Plan,
    group: Group,
    device: torch.device,
    stop: StopRequest,
    progress: Progress,
) -> None:
    execution = recipe.execution
    tokenizer = load_tokenizer(run.tokenizer)
    special = special_ids(run.tokenizer, data.valid.vocab_size, tokenizer)
    shards = group.size > 1 and execution.distributed == "fsdp"
    vocab_size = data.valid.vocab_size
    trained = network.make(recipe, vocab_size, special, run.tokenizer, device, moved=not shards)
    end_id = data.valid.end_id if recipe.train.document_mask else None
    if end_id is not None and not separates_documents(trained, end_id):
        raise UsageError(
            f"train.document_mask: transformers' {recipe.model.type} does not keep documents of a "
            "block apart; leave it out, or choose gpt2, gpt_neo or llama as model.type"
        )
    found = _find(run, plan, group, progress)
    if recipe.model.embeddings == "text" and found.state is None:
        _set_embeddings(recipe, trained, data.order, group, progress)
    facts = machine.facts(device, group)
    if found.saved is not None:
        _warn_of_changes(found.saved.machine, facts, progress)
    _announce(trained, plan, device, group, execution.distributed, progress)
    learner = Learner(trained, device, group, execution.distributed, end_id)
    prompts = execution.sample_prompts
    if prompts is None:
        prompts = recipe.release.prompts
    sampler = Sampler(tokenizer, prompts, execution.sample_tokens, recipe.train.seed)
    with ExitStack() as stack:
        chosen: list[trackers.Tracker] = []
        with group.together():  # a tracker's server may take its time
            if group.main:
                chosen = stack.enter_context(trackers.opened(recipe, run.logs))
        while True:
            state = found.state or State()
            with _metrics(recipe, run.logs, state, chosen, group) as metrics:
                training = Training(
                    plan,
                    learner,
                    data,
                    directory=run.own("train"),
                    metrics=metrics,
                    stop=stop,
                    progress=progress,
                    found=found,
                    log_every=execution.log_every,
                    sampler=sampler,
                    machine=facts,
                )
                try:
                    training.run()
                    return
                except Rewound as back:
                    found = Found(back.state, back.saved)


@contextmanager
def _metrics(
    recipe: Recipe, logs: Path, state: State, chosen: Sequence[trackers.Tracker], group: Group
) -> Iterator[Metrics]:
    """The run's logs, which rank 0 alone writes."""
    if not group.main:
        yield Metrics()
        return
    board = recipe.execution.tensorboard
    with open_metrics(logs, state.step, board, chosen, state.bad_steps) as metrics:
        yield metrics


def _check_agreement(recipe: Recipe, plan: Plan, group: Group) -> None:
    """Refuse ranks that read different recipes or tokens."""
    mine = files.fingerprint_of(
        [recipe.model.semantic(), recipe.train.semantic(), plan.total_steps]
    )
    if group.share(mine) != mine:
        raise DataError(
            f"{group.ranks.name}another recipe or other tokens than those of rank 0 are read here; "
            "give every machine the same recipe file and run directory (a shared file system)"
        )


def _warn_of_changes(before: Mapping[str, Any], now: Mapping[str, Any], progress: Progress) -> None:
    if found := machine.changes(before, now):
        progress.say(
            f"warning: not as it was before ({'; '.join(found)}): training goes on with the same "
            "samples, but its bits may differ from those of an unbroken run"
        )


def special_ids(
    tokenizer: Path, vocab_size: int, loaded: PreTrainedTokenizerBase | None = None
) -> build.SpecialIds:
    """Begin, end and padding ids of a tokenizer folder; `DataError` where they do not fit."""
    loaded = loaded or load_tokenizer(tokenizer)
    ids = build.SpecialIds(loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id)
    for name, value in vars(ids).items():
        if value is not None and value >= vocab_size:
            raise DataError(
                f"{tokenizer}: the {name} token has id {value}, but the tokens were made with a "
                f"vocabulary of {vocab_size:,}; run the tokens stage again"
            )
    return ids


def _prepare(recipe: Recipe, tokens: Path, group: Group) -> tuple[Data, Plan]:
    """The data and the plan, refused where they do not fit each other or the ranks."""
    train = recipe.train
    if train.grad_accum_steps % group.size:
        raise UsageError(
            f"train.grad_accum_steps: found {train.grad_accum_steps}, which {group.size} processes "
            "cannot share evenly; take a number of processes that divides it, or raise it and "
            "lower train.batch_size, which keeps the tokens a step"
        )
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
    last = int(split.slice(split.n_tokens - 1, split.n_tokens)[0])
    if train.document_mask and last != split.end_id:
        raise UsageError(
            f"train.document_mask: the tokens in {tokens} have no end token between documents; "
            "make them with tokens.end_token = true"
        )
    next(validation_windows(valid, plan.block_size, train.validate_tokens))
    return Data(order, valid), plan


def _find(run: RunDirectory, plan: Plan, group: Group, progress: Progress) -> Found:
    """Where the run goes on; damaged checkpoints are set aside, and one before them is used.

    Rank 0 looks, which may take long, and tells the others.
    """
    found = Found()
    with group.together():
        if group.main:
            found = _look(run, plan, progress)
    told = [as_json(state) if state else None for state in (found.state, found.saved)]
    state, saved = (from_json(value) if value else None for value in group.share(told))
    return Found(state, saved)


def _look(run: RunDirectory, plan: Plan, progress: Progress) -> Found:
    directory = run.own("train")
    files.make_directory(directory)
    files.remove_leftovers(directory)
    found = checkpoints.find(directory, plan)
    for step, problem in found.damaged.items():
        name = step_name(step)
        kept = files.move_directory(directory / name, run.superseded / f"train-{name}-damaged")
        progress.say(f"warning: {problem}; this checkpoint is set aside in {kept}")
    if found.state is not None:
        progress.say(f"going on from the checkpoint of step {found.state.step:,}")
    elif found.damaged:
        progress.say("no sound checkpoint is left: training starts again from step 0")
    return found


def _set_embeddings(
    recipe: Recipe, trained: PreTrainedModel, order: TrainingOrder, group: Group, progress: Progress
) -> None:
    """Embeddings from the text, computed by rank 0 and the same on all."""
    changed = embeddings.parameters(trained)
    with group.together():
        if group.main:
            ids = embeddings.first_tokens(order, recipe.model.embeddings_tokens)
            progress.say(f"embeddings from frequencies and neighbours in {len(ids):,} tokens")
            embeddings.begin_with(trained, ids, recipe.train.seed)
    for parameter in changed:
        mine = parameter.detach().cpu() if group.main else None
        with torch.no_grad():
            parameter.copy_(group.share_tensor(mine, parameter.shape, parameter.dtype))


def _announce(
    trained: PreTrainedModel,
    plan: Plan,
    device: torch.device,
    group: Group,
    strategy: str,
    progress: Progress,
) -> None:
    if group.main and (
        warning := devices.emulation_warning(device, plan.train.precision, "train.precision")
    ):
        progress.say(warning)
    parameters = units.amount(size.parameter_count(trained))
    ranks = f"{group.size} processes ({strategy}), each " if group.size > 1 else ""
    progress.say(
        f"{parameters} parameters, {plan.total_steps:,} steps of {plan.tokens_per_step:,} "
        f"tokens, {ranks}{plan.train.precision} on {device.type} "
        f"({torch.get_num_threads()} threads)"
    )


@contextmanager
def _explained(train: Train, group: Group) -> Iterator[None]:
    """Out of memory and refusals of the disk, in the user's words."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, "training") from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise JagptError(group.ranks.name + _out_of_memory(train)) from error
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
