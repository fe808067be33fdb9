"""What a run learns from and is measured on, and how many steps it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from jagpt import files, units
from jagpt.errors import TooLittleTextError, UsageError
from jagpt.manifests import MANIFEST
from jagpt.recipe import Recipe, Train
from jagpt.tokens.dataset import TokenSplit, TrainingOrder, validation_windows
from jagpt.tokens.index import TokenIndex
from jagpt.tokens.shards import Shard
from jagpt.tokens.weights import Weights
from jagpt.training.plan import Plan, make_plan, micro_batches


@dataclass(frozen=True)
class Data:
    """The order of the train split's sequences, and the valid split."""

    order: TrainingOrder
    valid: TokenSplit

    @property
    def shards(self) -> list[Shard]:
        """The shards of both splits."""
        return [*self.order.split.shards, *self.valid.shards]

    def sums(self) -> dict[str, str]:
        """Name → SHA-256 of the indexes, which say of every token what it is (`Shard.check`)."""
        indexes = [self.valid.directory / TokenIndex.FILE, *(s.index_path for s in self.shards)]
        return {path.name: files.sha256(path) for path in indexes}


def sums(tokens: Path) -> dict[str, str]:
    """Name → SHA-256 of what says which tokens these are."""
    made_of = [tokens / name for name in (MANIFEST, TokenIndex.FILE)]
    return {path.name: files.sha256(path) for path in made_of if path.is_file()}


def prepare(recipe: Recipe, tokens: Path, ranks: int) -> tuple[Data, Plan]:
    """The data and the plan; refused if they do not fit each other or the ranks."""
    train = recipe.train
    _check_shares(train, ranks)
    split, valid = TokenSplit.open(tokens, "train"), TokenSplit.open(tokens, "valid")
    weights = Weights.of(split, recipe.corpus.weights, train.seed)
    per_epoch = split.n_tokens if weights is None else weights.tokens_per_epoch
    plan = make_plan(recipe.model, train, per_epoch)
    if train.batch_is_open:
        plan = replace(plan, sizes=micro_batches(plan, ranks))
    order = TrainingOrder(
        split,
        block_size=plan.block_size,
        order=train.order,
        seed=train.seed,
        shuffle_buffer=train.shuffle_buffer,
        weights=weights,
    )
    if plan.sequences_per_step > order.sequences_per_epoch:
        raise TooLittleTextError(
            f"{tokens}: a step takes {units.counted(plan.sequences_per_step, 'sequence')} "
            f"({_factors(train)}), "
            f"but the whole train split has only {order.sequences_per_epoch:,.1f} "
            f"of {plan.block_size:,} tokens; lower that or train.block_size, or add text"
        )
    if train.warmup_steps > plan.total_steps:
        raise UsageError(
            f"train.warmup_steps: found {train.warmup_steps:,}, but train.max_epochs = "
            f"{train.max_epochs} gives {plan.total_steps:,} steps here; lower it"
        )
    last = int(split.slice(split.n_tokens - 1, split.n_tokens)[0])
    if train.document_mask and last != split.end_id:
        raise UsageError(
            f"train.document_mask: the tokens in {tokens} have no end token between documents; "
            "make them with tokens.end_token = true"
        )
    next(validation_windows(valid, plan.block_size, train.validate_tokens))
    return Data(order, valid), plan


def _check_shares(train: Train, ranks: int) -> None:
    """`UsageError` if a step's micro-batches cannot be divided evenly."""
    if train.batch_is_open and train.sequences % ranks:
        raise UsageError(
            f"train.sequences_per_step: found {train.sequences}, which {ranks} processes cannot "
            "share evenly; use a number of processes that divides it"
        )
    if not train.batch_is_open and train.grad_accum_steps % ranks:
        raise UsageError(
            f"train.grad_accum_steps: found {train.grad_accum_steps}, which {ranks} processes "
            "cannot share evenly; use a number of processes that divides it, or raise it and "
            "lower train.batch_size, which keeps the tokens per step"
        )


def _factors(train: Train) -> str:
    if train.batch_is_open:
        return "train.sequences_per_step"
    return f"train.batch_size {train.batch_size} × train.grad_accum_steps {train.grad_accum_steps}"
