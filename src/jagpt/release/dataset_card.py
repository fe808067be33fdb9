"""The corpus as a data set of the hub: its card, and where its files go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from jagpt import __version__
from jagpt.corpus.documents import COLUMNS
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import DataError, JagptError
from jagpt.manifests import FileEntry
from jagpt.recipe import Recipe
from jagpt.release import licences, metadata
from jagpt.release.changelog import Entry
from jagpt.release.hub_schema import DATASET_KEYS, size_category, undocumented
from jagpt.release.markdown import Markdown, code, environment, fenced
from jagpt.release.recipe_text import sections_text
from jagpt.text import one_line

SPLIT_NAMES = {"train": "train", "valid": "validation", "test": "test"}
"""jagpt's name of a split → the hub's."""

_TYPES = {"revision": "int64"}
"""Columns that hold no text."""


def path_in_repository(name: str) -> str | None:
    """Where a file of the corpus goes; None if it stays here.

    `dropped.jsonl` stays: it names articles whose removal was requested.
    """
    path = PurePosixPath(name)
    return f"data/{path.name}" if path.suffix == ".parquet" else None


def render(
    recipe: Recipe,
    corpus: CorpusStats,
    datasets: Mapping[str, str],
    section: Mapping[str, Any],
    shards: Sequence[FileEntry],
    versions: Sequence[Entry],
    place: str,
) -> str:
    """The whole `README.md` of the data set `place`.

    `datasets` maps a source to its own data set on the hub, `section` is the recipe's `[corpus]`
    that made it, `shards` are the Parquet files, `versions` has this revision first.
    """
    if not shards:
        raise DataError("the corpus has no Parquet file; `jagpt corpus RECIPE --force` makes it")
    head = _metadata(recipe, corpus, datasets, shards)
    template = environment("jagpt.release", code=code, fenced=fenced).get_template("dataset.md.j2")
    body = template.render(
        recipe=recipe,
        corpus=corpus,
        datasets=datasets,
        columns=COLUMNS,
        licence_of=licences.of_source,
        wikipedia_of=licences.wikipedia,
        split_names=SPLIT_NAMES,
        versions=[(entry.revision, Markdown("<br>".join(entry.lines))) for entry in versions],
        jagpt_version=__version__,
        recipe_text=sections_text(recipe.name, {"corpus": section}),
        place=Markdown(json.dumps(place)),
    )
    card = f"---\n{head.to_yaml()}\n---\n\n{body}"
    metadata.check(card, head.to_dict(), dataset=True)
    return card


def _metadata(
    recipe: Recipe, corpus: CorpusStats, datasets: Mapping[str, str], shards: Sequence[FileEntry]
) -> Any:
    from huggingface_hub import DatasetCardData

    make: type[Any] = DatasetCardData
    found = make(
        language="ja",
        pretty_name=one_line(f"{recipe.name}: {recipe.description}").strip(": "),
        tags=["japanese", "jagpt"],
        annotations_creators="no-annotation",
        language_creators="found",
        size_categories=size_category(corpus.documents),
        source_datasets=metadata.datasets(corpus, datasets) or None,
        task_categories=["text-generation"],
        task_ids=["language-modeling"],
        configs=[{"config_name": "default", "data_files": _data_files(corpus)}],
        dataset_info=_info(corpus, shards),
        **licences.metadata(licences.of_model(None, corpus)),
    )
    if odd := list(undocumented(found.to_dict(), DATASET_KEYS)):
        raise JagptError(f"README.md: the hub does not document {', '.join(odd)}")
    return found


def _data_files(corpus: CorpusStats) -> list[dict[str, str]]:
    return [
        {"split": SPLIT_NAMES[name], "path": f"data/{name}-*.parquet"} for name in corpus.splits
    ]


def _info(corpus: CorpusStats, shards: Sequence[FileEntry]) -> dict[str, Any]:
    """Columns and sizes, so that the hub need not read the files to find them."""
    return {
        "features": [{"name": name, "dtype": _TYPES.get(name, "string")} for name in COLUMNS],
        "splits": [
            {
                "name": SPLIT_NAMES[name],
                "num_bytes": split.bytes,
                "num_examples": split.documents,
            }
            for name, split in corpus.splits.items()
        ],
        "download_size": sum(shard.size for shard in shards),
        "dataset_size": sum(split.bytes for split in corpus.splits.values()),
    }
