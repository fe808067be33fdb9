"""What the hub's documentation lets a card's metadata say: keys, and the values of closed lists.

Read on 2026-11-22 from github.com/huggingface/hub-docs: `modelcard.md` (at 0d37e0ca),
`datasetcard.md` (at 0923adfd), `docs/hub/model-cards.md`, `docs/hub/models-widgets.md`,
`docs/hub/repositories-licenses.md` (at 008d54d0); and from the docstrings of `ModelCardData`,
`DatasetCardData` and `EvalResult` in huggingface_hub 2.4.0. A key with dots stands below another; a
list's entries have the list's key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from jagpt.release.licences import HUB_LICENCES

_MODEL = "hub-docs modelcard.md"
_CARDS = "hub-docs docs/hub/model-cards.md"
_WIDGETS = "hub-docs docs/hub/models-widgets.md"
_DATASET = "hub-docs datasetcard.md"

MODEL_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "language": _MODEL,
        "license": _MODEL,
        "license_name": _CARDS,
        "library_name": _MODEL,
        "pipeline_tag": _CARDS,
        "tags": _MODEL,
        "base_model": _CARDS,
        "datasets": _MODEL,
        "metrics": _MODEL,
        "widget": _WIDGETS,
        "widget.text": _WIDGETS,
        "model-index": _MODEL,
        "model-index.name": _MODEL,
        "model-index.results": _MODEL,
        "model-index.results.task": _MODEL,
        "model-index.results.task.type": _MODEL,
        "model-index.results.dataset": _MODEL,
        "model-index.results.dataset.type": _MODEL,
        "model-index.results.dataset.name": _MODEL,
        "model-index.results.dataset.config": _MODEL,
        "model-index.results.dataset.split": _MODEL,
        "model-index.results.dataset.args": _MODEL,
        "model-index.results.dataset.args.language": _MODEL,
        "model-index.results.dataset.args.date": _MODEL,
        "model-index.results.metrics": _MODEL,
        "model-index.results.metrics.type": _MODEL,
        "model-index.results.metrics.value": _MODEL,
        "model-index.results.metrics.name": _MODEL,
    }
)
"""Key of a model card → the page that documents it."""

DATASET_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "language": _DATASET,
        "license": _DATASET,
        "license_name": _DATASET,
        "pretty_name": _DATASET,
        "tags": _DATASET,
        "annotations_creators": _DATASET,
        "language_creators": _DATASET,
        "size_categories": _DATASET,
        "source_datasets": _DATASET,
        "task_categories": _DATASET,
        "task_ids": _DATASET,
        "configs": _DATASET,
        "configs.config_name": _DATASET,
        "configs.data_files": _DATASET,
        "configs.data_files.split": _DATASET,
        "configs.data_files.path": _DATASET,
        "dataset_info": _DATASET,
        "dataset_info.features": _DATASET,
        "dataset_info.features.name": _DATASET,
        "dataset_info.features.dtype": _DATASET,
        "dataset_info.splits": _DATASET,
        "dataset_info.splits.name": _DATASET,
        "dataset_info.splits.num_bytes": _DATASET,
        "dataset_info.splits.num_examples": _DATASET,
        "dataset_info.download_size": _DATASET,
        "dataset_info.dataset_size": _DATASET,
    }
)
"""Key of a dataset card → the page that documents it."""

SIZE_CATEGORIES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip
"""Below so many rows: the hub's name of the class; above them all, `MOST`."""
MOST = "1B<n<10B"

VALUES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "language": frozenset({"ja"}),  # ISO 639-1
        "license": HUB_LICENCES | {"other"},
        "library_name": frozenset({"transformers"}),
        "pipeline_tag": frozenset({"text-generation"}),
        "metrics": frozenset({"perplexity"}),  # huggingface.co/metrics
        "model-index.results.task.type": frozenset({"text-generation"}),
        "model-index.results.dataset.split": frozenset({"train", "valid", "test"}),
        "annotations_creators": frozenset({"no-annotation"}),
        "language_creators": frozenset({"found"}),
        "size_categories": frozenset({name for _, name in SIZE_CATEGORIES} | {MOST}),
        "task_categories": frozenset({"text-generation"}),
        "task_ids": frozenset({"language-modeling"}),
        "configs.data_files.split": frozenset({"train", "validation", "test"}),
        "dataset_info.splits.name": frozenset({"train", "validation", "test"}),
        "dataset_info.features.dtype": frozenset({"string", "int64"}),
    }
)
"""Key of a closed list → what jagpt may write there, each one a value that the hub documents."""


def size_category(rows: int) -> str:
    """The hub's class of a data set's size."""
    return next((name for bound, name in SIZE_CATEGORIES if rows < bound), MOST)


def undocumented(metadata: Mapping[str, Any], keys: Mapping[str, str]) -> Iterator[str]:
    """Keys that the documentation does not have, and values outside its closed lists."""
    for key, value in _leaves(metadata):
        if key not in keys:
            yield f"the key {key}"
        elif key in VALUES and value is not None and value not in VALUES[key]:
            yield f"{key}: {value}"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each key with its plain values, tables and lists opened; a table's own key comes too."""
    if isinstance(value, Mapping):
        if key:
            yield key, None
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value
