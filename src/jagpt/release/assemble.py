"""From a run to what goes to a repository: its files, and the texts that carry its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jagpt import files, manifests
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import DataError, UsageError
from jagpt.manifests import FileEntry, Manifest
from jagpt.recipe import Recipe
from jagpt.release import browser, card, changelog, dataset_card, exports
from jagpt.release.facts import Facts, as_made, facts_of, hub_datasets
from jagpt.release.publication import (
    CARD,
    CHANGELOG,
    CHECKSUMS,
    LFS_ATTRIBUTES,
    MADE_ANEW,
    History,
    Publication,
    PublishedFile,
    attributes,
    checksum_lines,
    measured,
)
from jagpt.rundir import RunDirectory
from jagpt.timing import Timing
from jagpt.training.environment import Environment


def model(
    recipe: Recipe, run: RunDirectory, history: History, folder: Path, place: str | None
) -> Publication:
    """The finished release of a run as a new revision after `history`.

    Card, changelog, attributes and checksums are rewritten into `folder`: they continue what the
    repository has, and the card says on what and how long the model was trained. Raises `DataError`
    if a file of the release is missing or the repository's changelog is not jagpt's.
    """
    recipe, facts, timing = as_made(recipe, run), facts_of(run), Timing.find(run.logs)
    kept = {
        entry.name: PublishedFile(run.release / entry.name, entry)
        for entry in _finished(run.release).files
        if entry.name not in MADE_ANEW
    }
    new = changelog.entry(recipe, facts)
    text, versions = _changelog(history, new)
    time = timing.stages.get("train") if timing else None
    published = card.Published(
        place,
        _others(history, new.revision),
        Environment.find(run.logs),
        time.seconds if time else None,
    )
    extras = card.Extras(
        exports.released(run.release),
        card.CURVE in kept,
        published,
        browser.same_ids(run.release),
    )
    page = card.render(recipe, facts, versions, extras)
    title = recipe.release.title
    texts = {CARD: page, CHANGELOG: text}
    return _publication(title, new.revision, kept, texts, history, folder)


def dataset(
    recipe: Recipe, run: RunDirectory, history: History, folder: Path, place: str
) -> Publication:
    """The finished corpus of a run as a new revision after `history`."""
    manifest = _finished(run.corpus)
    corpus = CorpusStats.read(run.corpus)
    kept = {
        name: PublishedFile(run.corpus / entry.name, replace(entry, name=name))
        for entry in manifest.files
        if (name := dataset_card.path_in_repository(entry.name)) is not None
    }
    new = changelog.entry(recipe, Facts(corpus=corpus))
    text, versions = _changelog(history, new)
    section: Any = manifest.section.get("corpus", {})
    shards = [file.entry for file in kept.values()]
    page = dataset_card.render(
        recipe, corpus, hub_datasets(run.corpus), section, shards, versions, place
    )
    texts = {CARD: page, CHANGELOG: text}
    return _publication(f"{recipe.name}: corpus", new.revision, kept, texts, history, folder)


def revision(recipe: Recipe, run: RunDirectory) -> str:
    """The revision that a run, or its corpus, is published as."""
    return changelog.revision_of(recipe, CorpusStats.find(run.corpus))


def _changelog(history: History, new: changelog.Entry) -> tuple[str, list[changelog.Entry]]:
    """The repository's changelog with the new entry; all entries, the new one first."""
    try:
        text = changelog.with_entry(history.changelog, new)
    except DataError as error:
        raise DataError(
            f"the repository's {error}: it was not written by jagpt. Rename it there and "
            "publish again"
        ) from None
    older = [entry for entry in changelog.parse(text) if entry.revision != new.revision]
    return text, [new, *older]


def _others(history: History, revision: str) -> Mapping[str, str]:
    """Commits of the earlier revisions; that of a commit itself cannot stand in it."""
    return {name: commit for name, commit in history.commits.items() if name != revision}


def _finished(directory: Path) -> Manifest:
    """The manifest of a finished stage, whose files are all there."""
    if not (directory / manifests.MANIFEST).is_file():
        raise UsageError(f"{directory}: not finished; `jagpt run RECIPE` continues it")
    manifest = Manifest.read(directory)
    for entry in manifest.files:
        path = directory / entry.name
        if not path.is_file() or path.stat().st_size != entry.size:
            raise DataError(
                f"{path}: changed since it was made; `jagpt verify RUN_DIR` lists everything"
            )
    return manifest


def _publication(
    title: str,
    revision: str,
    kept: Mapping[str, PublishedFile],
    texts: Mapping[str, str],
    history: History,
    folder: Path,
) -> Publication:
    """All files sorted by name, including their attributes and the checksums of all the others."""
    found = dict(kept)
    rules = attributes(history.attributes, {*kept, *texts, LFS_ATTRIBUTES, CHECKSUMS})
    for name, text in {**texts, LFS_ATTRIBUTES: rules}.items():
        files.write_text(folder / name, text)
        found[name] = measured(folder / name, name)
    entries: tuple[FileEntry, ...] = tuple(found[name].entry for name in sorted(found))
    files.write_text(folder / CHECKSUMS, checksum_lines(entries))
    found[CHECKSUMS] = measured(folder / CHECKSUMS, CHECKSUMS)
    return Publication(revision, title, tuple(found[name] for name in sorted(found)))
