"""The release stage: a folder that can be published as it is.

It holds the model folder's files, the model card, the changelog, what Git LFS must take care of,
and the checksums of all. The continuations that card and report show are drawn here, once.
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

from jagpt import files, generation, manifests
from jagpt.corpus import prompts
from jagpt.errors import DataError
from jagpt.formats.bounds import Parity
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.release import browser, card, changelog, exports, licences, usage
from jagpt.release.facts import as_made, facts_of
from jagpt.release.git import link
from jagpt.release.publication import (
    CARD,
    CHANGELOG,
    CHECKSUMS,
    LFS_ATTRIBUTES,
    checksum_lines,
    lfs_attributes,
)
from jagpt.release.samples import Sample, Samples
from jagpt.rundir import RunDirectory
from jagpt.training import curve
from jagpt.training.state import State

SAMPLE_SEED = 1000
SAMPLES_A_PROMPT = 3


def preflight(_recipe: Recipe, run: RunDirectory) -> None:
    """`DataError` for a missing model, an unfinished format or one of other weights."""
    if not (run.model / exports.WEIGHTS).is_file():
        raise DataError(f"{run.model}: no exported model here; `jagpt export RECIPE` makes it")
    exports.found(run)


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Make the release folder of a run whose model is exported.

    Raises what `preflight` raises, `JagptError` if a program that the card would show fails. A
    prompt is cut so that the model has room to continue it.
    """
    preflight(recipe, run)
    recipe = as_made(prompts.settled(recipe, run.corpus), run)
    names = manifests.listed(run.model)
    with files.staging(run.own("release")) as folder:
        _add_model(run.model, names, folder)
        _add_exports(run, folder)
        browser.add_page(recipe, folder)
        _add_texts(recipe, run, folder, progress)
        files.write_text(folder / LFS_ATTRIBUTES, lfs_attributes())
        listed = (entry for entry in manifests.entries(folder) if entry.name != CHECKSUMS)
        files.write_text(folder / CHECKSUMS, checksum_lines(tuple(listed)))
    progress.say(f"release: {run.own('release')}")


def samples(run: RunDirectory, recipe: Recipe) -> Samples:
    """The exported model's continuations of the recipe's prompts.

    The seed is fixed, and one thread computes, so that the number of cores changes nothing.
    """
    settings = generation.Settings(num_return_sequences=SAMPLES_A_PROMPT, seed=SAMPLE_SEED)
    from jagpt import devices

    with devices.threads(1):
        loaded = generation.load(run.model)
        asked = [_fitting(prompt, loaded) for prompt in recipe.release.known_prompts]
        found = list(generation.scored(loaded, asked, settings))
    drawn = (
        Sample(prompt, tuple(each.text for each in row))
        for prompt, row in zip(asked, found, strict=True)
    )
    return Samples(SAMPLE_SEED, tuple(drawn))


def _fitting(prompt: str, loaded: generation.TextGenerator) -> str:
    """The beginning of the prompt, at most half of the context, to leave room for what the model
    adds.
    """
    if loaded.context is None:
        return prompt
    room = max(1, loaded.context - min(loaded.defaults.max_new_tokens, loaded.context // 2))
    if len(loaded.encode(prompt)) <= room:
        return prompt
    lengths = range(1, len(prompt))
    return prompt[: bisect_right(lengths, room, key=lambda n: len(loaded.encode(prompt[:n])))]


def _add_texts(recipe: Recipe, run: RunDirectory, folder: Path, progress: Progress) -> None:
    """Samples, curve, card and changelog."""
    progress.say(f"release: {SAMPLES_A_PROMPT} continuations of each prompt")
    drawn = samples(run, recipe)
    for number, prompt in enumerate(recipe.release.known_prompts):
        if (kept := drawn.samples[number].prompt) != prompt:
            progress.say(
                f"release: prompt {number + 1} is cut to its first {len(kept):,} characters of "
                f"{len(prompt):,}: the model's context leaves no room for more"
            )
    drawn.write(folder)
    facts = replace(facts_of(run), samples=drawn.samples)
    for doubt in licences.doubts(facts.corpus) if facts.corpus else ():
        progress.say(f"warning: {doubt}")
    found = exports.found(run)
    usage.check(recipe, found, drawn.samples[0].prompt, folder, progress)
    new = changelog.entry(recipe, facts)
    text = changelog.with_entry(None, new)
    files.write_text(folder / CHANGELOG, text)
    extras = card.Extras(
        found, _add_curve(facts.training, folder), in_browser=browser.same_ids(folder)
    )
    page = card.render(recipe, facts, changelog.parse(text), extras)
    files.write_text(folder / CARD, page)


def _add_curve(training: State | None, folder: Path) -> bool:
    """The picture of the validation losses; whether there are any."""
    if training is None or not training.validation:
        return False
    points = [(validation.tokens, validation.loss) for validation in training.validation]
    curve.draw(folder / card.CURVE, points)
    return True


def _add_exports(run: RunDirectory, folder: Path) -> None:
    """The further formats, and the proofs of all of them in one file."""
    found = exports.found(run)
    for export in found:
        for name, path in export.files.items():
            files.make_directory((folder / name).parent)
            link(path, folder / name)
    if found:
        files.write_json(folder / Parity.FILE, {e.name: e.parity.as_json() for e in found})


def _add_model(model: Path, names: list[str], folder: Path) -> None:
    """The model's files; weights are hard-linked if the disk allows it, since neither copy
    changes.
    """
    for name in names:
        target = folder / name
        files.make_directory(target.parent)
        if name.endswith(".safetensors"):
            link(model / name, target)
        else:
            shutil.copyfile(model / name, target)
