"""lm-evaluation-harness on a loaded model; needs the extra `jagpt[harness]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jagpt.errors import DataError, JagptError, MissingExtraError, StorageError, UsageError
from jagpt.models import ModelFolder
from jagpt.text import first_line

BATCH_SIZE = 8


def require() -> None:
    """`MissingExtraError` where the package is not installed."""
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise MissingExtraError("--tasks", "harness") from None


def measure(subject: ModelFolder, tasks: Sequence[str]) -> dict[str, Any]:
    """The harness's results, task → metric → value, with the model that is in memory.

    `UsageError` for a task that it does not know, `StorageError` where its data set cannot be had.
    """
    require()
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise UsageError(
            f"--tasks {','.join(unknown)}: lm-evaluation-harness knows no such task; "
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
        found = lm_eval.simple_evaluate(model=model, tasks=list(tasks), task_manager=manager)
    except (ConnectionError, OSError) as error:
        raise StorageError(
            f"--tasks: a data set could not be fetched ({error}); check the network"
        ) from None
    if found is None:
        raise JagptError("--tasks: lm-evaluation-harness gave no result")
    return {task: _numbers(values) for task, values in found["results"].items()}


def _follow_settings(subject: ModelFolder) -> None:
    """Generate as the folder says, where the harness says nothing else."""
    from transformers import GenerationConfig

    if subject.says_how_to_generate:
        make: Any = GenerationConfig
        try:
            subject.network.generation_config = make(**subject.generation)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{subject.folder}: its generation settings make no sense ({first_line(error)})"
            ) from None


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
