"""lm-evaluation-harness on a loaded model; needs the extra `jagpt[harness]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jagpt.errors import DataError, JagptError, MissingExtraError, StorageError, UsageError
from jagpt.evaluation.result import TaskFigures
from jagpt.models import ModelFolder
from jagpt.text import first_line

WHERE = "--tasks"
BATCH_SIZE = 8
WRITTEN = 256
"""Tokens that the harness has a model write where a task says nothing; a context must be longer."""
SUITES = {
    "ja": (
        "ja_leaderboard_jcommonsenseqa",
        "ja_leaderboard_jnli",
        "ja_leaderboard_marc_ja",
        "ja_leaderboard_jsquad",
        "ja_leaderboard_xwinograd",
    ),
}
"""Suite → the harness's names for its tasks."""


def require(where: str = WHERE) -> None:
    """`MissingExtraError` if the package is not installed; `where` is what asked for it."""
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise MissingExtraError(where, "harness") from None


def measure(
    subject: ModelFolder, tasks: Sequence[str], where: str = WHERE
) -> dict[str, TaskFigures]:
    """The harness's results, task by task, for a model in memory.

    `where` is the option or key that asks for them. `UsageError` for a task that it does not know,
    `StorageError` if its data set cannot be downloaded.
    """
    require(where)
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise UsageError(
            f"{where} {','.join(unknown)}: lm-evaluation-harness knows no such task; "
            "`lm_eval ls tasks` lists them"
        )
    _follow_settings(subject)
    model = HFLM(
        pretrained=subject.network,
        tokenizer=subject.tokenizer,
        backend="causal",
        batch_size=BATCH_SIZE,
        prefix_token_id=subject.start_id(),
    )
    try:
        found = lm_eval.simple_evaluate(
            model=model, tasks=list(tasks), task_manager=manager, gen_kwargs=_room(subject)
        )
    except (ConnectionError, OSError) as error:
        raise StorageError(
            f"{where}: a data set could not be downloaded ({first_line(error)}); check the network"
        ) from None
    except Exception as error:  # a data set, a template or a tokenizer that it cannot work with
        reason = first_line(error) or type(error).__name__
        raise DataError(f"{where}: lm-evaluation-harness failed: {reason}") from error
    if found is None:
        raise JagptError(f"{where}: lm-evaluation-harness gave no result")
    version = f"lm-eval {lm_eval.__version__}"
    return {task: _figures(task, found, version) for task in found["results"]}


def _room(subject: ModelFolder) -> dict[str, int] | None:
    """Half of a context that is not longer than what the harness lets a model write."""
    if subject.context is None or subject.context > WRITTEN:
        return None
    return {"max_gen_toks": max(1, subject.context // 2)}


def _figures(task: str, found: Mapping[str, Any], harness: str) -> TaskFigures:
    """A task's metrics, and what they refer to: without that a figure means nothing to others."""
    config = found["configs"].get(task, {})
    names = (config.get("dataset_path"), config.get("dataset_name"))
    prompt = f"{config.get('description') or ''}{config.get('doc_to_text') or ''}"
    return TaskFigures(
        harness=harness,
        version=str(found["versions"].get(task, "")),
        shots=int(found["n-shot"].get(task) or 0),
        examples=int(found["n-samples"].get(task, {}).get("effective") or 0),
        dataset=" ".join(str(name) for name in names if name),
        prompt=prompt,
        metrics=_numbers(found["results"][task]),
    )


def _follow_settings(subject: ModelFolder) -> None:
    """Generate as the folder says, unless the harness says otherwise."""
    from transformers import GenerationConfig

    if subject.says_how_to_generate:
        make: Any = GenerationConfig
        try:
            subject.network.generation_config = make(**subject.generation)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{subject.folder}: its generation settings are invalid ({first_line(error)})"
            ) from None


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
