"""The train stage: from token shards to checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from jagpt import devices, files, units
from jagpt.corpus import prompts as corpus_prompts
from jagpt.errors import DataError, JagptError, UsageError, storage_error
from jagpt.models import load_tokenizer, size
from jagpt.models.build import SpecialIds
from jagpt.progress import Progress
from jagpt.recipe import Recipe, Train
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit
from jagpt.training import (
    distributed,
    embeddings,
    keeper,
    machine,
    micro_batch,
    network,
    teachers,
    trackers,
)
from jagpt.training.batches import Batches
from jagpt.training.data import Data, prepare
from jagpt.training.distributed import Group
from jagpt.training.doubts import doubts
from jagpt.training.environment import Environment
from jagpt.training.fit import fit
from jagpt.training.keeper import Keeper
from jagpt.training.loss import idle_weights, separates_documents
from jagpt.training.metrics import Metrics, draw_curve
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan
from jagpt.training.reporter import Reporter
from jagpt.training.samples import Continuer
from jagpt.training.stage import TRAIN
from jagpt.training.stopping import StopRequest
from jagpt.training.trainer import Trainer
from jagpt.training.validation import Validator


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Train until the recipe's last step, from the newest intact checkpoint if there is one.

    Each rank of `distributed.current()` calls this; only rank 0 writes. `checkpoints/` must be
    empty or hold checkpoints of a run that this one may continue (`plan.continues`). `DataError`
    if there are too few tokens for the recipe, `UsageError` if this machine lacks what it asks
    for, `StoppedError` or `KeyboardInterrupt` after an interruption, once a checkpoint is saved.
    """
    group = distributed.current()
    device = machine.device_of(recipe, group.ranks)
    with (
        StopRequest(recipe.execution.max_hours, group) as stop,
        machine.settings(recipe, device),
        devices.explained(device, "execution.device"),
        _explained(recipe.train, device, group),
        distributed.explained(group),
    ):
        with group.training(device):
            data, plan = _agreed(recipe, run, group)
            _make_teachers(recipe, run, device, stop, progress)
            _train(recipe, run, data, plan, device, stop, progress)
        if group.main:
            draw_curve(run.logs)
        if stop.signalled():  # it came too late to interrupt training, and no other stage starts
            stop.leave("training is done", progress)


def preflight(recipe: Recipe, run: RunDirectory) -> None:
    """Refuse what the machine or the tokens do not allow; raises as `run` does."""
    group = distributed.current()
    device = machine.device_of(recipe, group.ranks)
    trackers.check(recipe.execution.trackers)
    data, _ = prepare(recipe, run.tokens, group.size)
    network.preflight(recipe, data.valid.vocab_size, run.tokenizer, device)
    for split in ("train", "valid"):  # a changed shard is found now, not after a week
        TokenSplit.open(run.tokens, split).check()
    teachers.preflight(recipe, run)


def _make_teachers(
    recipe: Recipe, run: RunDirectory, device: torch.device, stop: StopRequest, progress: Progress
) -> None:
    """Train the run's own teachers that do not exist yet, one after another."""
    group, count = distributed.current(), recipe.train.own_teachers
    for number, (taught, place) in enumerate(teachers.own_runs(recipe, run), 1):
        with group.together():
            wanted = teachers.manifest(TRAIN, taught, run) if group.main else None
            made = wanted is not None and not teachers.make_room(wanted, run, place, progress)
        if group.share(made):
            continue
        progress.say(f"teacher {number} of {count}:")
        data, plan = prepare(taught, run.tokens, group.size)
        _train(taught, place, data, plan, device, stop, progress)
        with group.together():
            if wanted is not None:
                draw_curve(place.logs)
                wanted.finish(place.own("train"))


def _train(
    recipe: Recipe,
    run: RunDirectory,
    data: Data,
    plan: Plan,
    device: torch.device,
    stop: StopRequest,
    progress: Progress,
) -> None:
    """Set up the parts of training, and fit."""
    group, execution = distributed.current(), recipe.execution
    tokenizer = load_tokenizer(run.tokenizer)
    special = network.special_ids(tokenizer, data.valid.vocab_size)
    trained = _network(recipe, run, data, special, group, device)
    idle = idle_weights(trained)
    if recipe.train.compile:
        trained.base_model.compile()
    facts = machine.facts(device, group)
    if group.main:
        Environment.of(facts).write(run.logs)
    found = keeper.find(run, plan, group, progress)
    if recipe.model.embeddings == "text" and found.state is None:
        embeddings.begin(recipe, trained, data.order, group, progress)
    if found.saved is not None:
        machine.warn_of_changes(found.saved.machine, facts, progress)
    for doubt in doubts(recipe, plan, data):
        progress.say(f"warning: {doubt}")
    for remark in machine.remarks(recipe, device, group.size) if group.main else ():
        progress.say(remark)
    _announce(trained, idle, plan, device, group, execution.distributed, progress)
    end_id = _end_id(recipe, data)
    taught_by = teachers.load(recipe, run, data.valid.vocab_size, end_id, device)
    learner = Learner(trained, device, group, execution.distributed, end_id, bool(idle), taught_by)
    plan = micro_batch.chosen(plan, learner, found.state, progress)
    prompts = execution.sample_prompts
    if prompts is None:
        prompts = corpus_prompts.settled(recipe, run.corpus).release.known_prompts
    sampler = Continuer(tokenizer, prompts, execution.sample_tokens, recipe.train.seed)
    with (
        _trackers(recipe, run.logs, group, found.state is None) as chosen,
        Metrics(run.logs if group.main else None, execution.tensorboard, chosen) as metrics,
        Batches(data.order, device) as batches,
    ):
        fit(
            plan,
            Trainer(plan, learner, batches),
            Validator(plan, learner, data.valid, sampler),
            Keeper(run.own("train"), plan, found, group, facts),
            Reporter(plan, learner, metrics, progress, execution.log_every),
            stop,
        )


def _network(
    recipe: Recipe,
    run: RunDirectory,
    data: Data,
    special: SpecialIds,
    group: Group,
    device: torch.device,
) -> PreTrainedModel:
    """The network before its first step; on its device, unless it will be sharded there."""
    moved = group.size == 1 or recipe.execution.distributed == "ddp"
    vocab_size = data.valid.vocab_size
    made = network.make(recipe, vocab_size, special, run.tokenizer, device, moved=moved)
    end_id = _end_id(recipe, data)
    if end_id is not None and not separates_documents(made, end_id):
        raise UsageError(
            f"train.document_mask: transformers' {recipe.model.type} does not keep the documents "
            "in a block apart; leave it out, or choose gpt2, gpt_neo or llama as model.type"
        )
    return made


def _end_id(recipe: Recipe, data: Data) -> int | None:
    """The token that keeps the documents in a block apart, if the recipe asks for that."""
    return data.valid.end_id if recipe.train.document_mask else None


@contextmanager
def _trackers(
    recipe: Recipe, logs: Path, group: Group, fresh: bool
) -> Iterator[list[trackers.Tracker]]:
    """The recipe's trackers, on rank 0; the others wait, since a server may be slow."""
    with ExitStack() as stack:
        chosen: list[trackers.Tracker] = []
        with group.together():
            if group.main:
                chosen = stack.enter_context(trackers.opened(recipe, logs, fresh))
        yield chosen


def _agreed(recipe: Recipe, run: RunDirectory, group: Group) -> tuple[Data, Plan]:
    """The data and the plan of all ranks; `DataError` if one reads something else than rank 0.

    The first rank of each machine reads all tokens, as rank 0 has done in `preflight`.
    """
    if group.size == 1:
        return prepare(recipe, run.tokens, group.size)
    first = group.ranks.local == 0
    with _refused_together(group):
        data, plan = prepare(recipe, run.tokens, group.size)
        outside = TRAIN.outside(recipe, files.sha256, {}) if first else {}
        read = [TRAIN.semantic(recipe), plan.total_steps, data.sums()]
        mine = [files.fingerprint_of(each) for each in (read, outside)]
    theirs = group.share(mine)
    with _refused_together(group):
        if mine[: 1 + first] != theirs[: 1 + first]:
            raise DataError(
                "this process reads a different recipe, different tokens or a different model than "
                "rank 0; give every machine the same recipe file and run directory (a shared file "
                "system)"
            )
    for shard in data.shards:  # one at a time: a rank that others wait for must not take long
        with _refused_together(group):
            if first and not group.main:
                shard.check()
    return data, plan


@contextmanager
def _refused_together(group: Group) -> Iterator[None]:
    """What one rank refuses in this block, which exchanges nothing, ends all of them."""
    refused: JagptError | None = None
    try:
        yield
    except JagptError as error:
        refused = error
    which = group.highest(-1 if refused is None else group.rank)
    if refused is not None:
        raise refused if group.main else DataError(f"{group.ranks.name}{refused}")
    if which >= 0:
        raise DataError(
            f"rank {which} cannot take part in this training; it tells why, where it runs"
        )


def _announce(
    trained: PreTrainedModel,
    idle: list[str],
    plan: Plan,
    device: torch.device,
    group: Group,
    strategy: str,
    progress: Progress,
) -> None:
    if idle:
        progress.say(
            f"{len(idle)} of the network's weights do not affect its loss and stay as they are "
            f"({', '.join(idle[:3])}{'…' * (len(idle) > 3)})"
        )
    parameters = units.amount(size.parameter_count(trained))
    ranks = f"{group.size} processes ({strategy}), each " if group.size > 1 else ""
    progress.say(
        f"{parameters} parameters, {units.counted(plan.total_steps, 'step')} of "
        f"{plan.tokens_per_step:,} tokens, {ranks}{plan.train.precision} on {device.type} "
        f"({units.counted(torch.get_num_threads(), 'thread')})"
    )


@contextmanager
def _explained(train: Train, device: torch.device, group: Group) -> Iterator[None]:
    """Out-of-memory and disk errors, in plain words."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, "training") from error
    except RuntimeError as error:
        if not devices.is_out_of_memory(error):
            raise
        others = devices.taken_by_others(device)
        said = _out_of_memory(train, group.size) + (f"; {others}" if others else "")
        raise JagptError(group.ranks.name + said) from error


def _out_of_memory(train: Train, ranks: int) -> str:
    if train.batch_is_open and ranks > 1:  # the ranks cannot agree on less in the middle of a step
        return (
            "out of memory: set train.batch_size to a number (--set train.batch_size=1 needs the "
            "least memory)"
        )
    if train.batch_is_open or train.batch_size == 1:
        return (
            "out of memory with a micro-batch of one sequence: lower train.block_size, or make the "
            "model smaller ([model] n_layer, n_embd)"
        )
    smaller = train.batch_size // 2
    more = -(-train.batch_size * train.grad_accum_steps // smaller)
    return (
        f"out of memory with train.batch_size = {train.batch_size}: "
        f"--set train.batch_size={smaller} --set train.grad_accum_steps={more} keeps the tokens "
        "per step and needs about half the memory"
    )
