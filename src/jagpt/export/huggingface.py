"""The Hugging Face folder: what `from_pretrained` loads, proven to be the checkpoint's model."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import files, generation, manifests, models
from jagpt.errors import DataError, JagptError
from jagpt.models.quiet import quiet
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.text import shortened
from jagpt.tokenizer.awkward import AWKWARD
from jagpt.tokenizer.folder import CONFIG_FILE, FAST_FILE, add_fast_file
from jagpt.tokenizer.stats import first_texts

if TYPE_CHECKING:
    from transformers import GenerationConfig

WEIGHTS = "model.safetensors"
NOT_PUBLISHED = frozenset({"stats.json"})
"""Files of the tokenizer stage that are not part of the tokenizer."""

TRIED_LINES = 20_000
"""Lines of the test split on which a `tokenizer.json` is tried that is not exact by its making."""

CHECK_TOKENS = 8
"""Tokens that the reloaded folder must be able to generate."""


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Write the model folder of the recipe's checkpoint, reload it and compare.

    Raises `UsageError` for a checkpoint that is not kept, `DataError` if it is damaged or model
    and tokenizer do not match, `JagptError` if the folder does not load as what it was made
    from; the folder is then not created.
    """
    from jagpt.models import checkpoint_folder
    from jagpt.training import checkpoints

    checkpoint = checkpoint_folder.resolve(run.checkpoints, recipe.export_checkpoint)
    checkpoints.read(checkpoint)
    with files.staging(run.own("export")) as folder:
        _copy_tokenizer(run.tokenizer, folder)
        _complete_tokenizer(folder, recipe.model.n_positions)
        _add_fast_tokenizer(folder, run.corpus, progress)
        _write_model(recipe, checkpoint, folder)
        check(folder, checkpoint)
    progress.say(f"export: {run.own('export')} ({checkpoint.name})")


def _copy_tokenizer(tokenizer: Path, folder: Path) -> None:
    wanted = [name for name in manifests.listed(tokenizer) if name not in NOT_PUBLISHED]
    if not wanted:
        raise DataError(f"{tokenizer}: no tokenizer here; `jagpt tokenizer RECIPE` makes it")
    for name in wanted:
        target = folder / name
        files.make_directory(target.parent)
        shutil.copyfile(tokenizer / name, target)


def _complete_tokenizer(folder: Path, context: int) -> None:
    """What other programs assume about the tokenizer by default.

    A text begins after the end of another, as in training: `<s>` never stood there. Special tokens
    that are spelled out are tokens, as chat templates and fine-tuning need. Texts of a batch are
    padded on the left, since generation continues from their ends.
    """
    path = folder / CONFIG_FILE
    config = files.read_json(path, "tokenizer configuration")
    config.pop("split_special_tokens", None)
    config |= {
        "bos_token": config["eos_token"],
        "model_max_length": context,
        "padding_side": "left",
    }
    files.write_json(path, config)


def _add_fast_tokenizer(folder: Path, corpus: Path, progress: Progress) -> None:
    """A `tokenizer.json` for programs that read nothing else, where it is the same tokenizer."""
    if (folder / FAST_FILE).is_file():
        return
    lines = (line for text in first_texts(corpus, "test") for line in text.split("\n"))
    tried = add_fast_file(folder, [*AWKWARD, *islice(lines, TRIED_LINES)])
    if not tried.odd:
        equal = tried.texts - len(tried.tied)
        progress.say(
            f"export: {FAST_FILE} gives {equal:,} of {tried.texts:,} texts the ids of "
            f"SentencePiece, and {len(tried.tied):,} others that are as likely"
        )
        return
    progress.say(
        f"export: no {FAST_FILE}: it would give {len(tried.odd):,} of {tried.texts:,} texts other "
        f"ids than SentencePiece, the first of them {shortened(tried.odd[0], 40)!r}; "
        "transformers.js and bare tokenizers cannot load this tokenizer"
    )


def _write_model(recipe: Recipe, checkpoint: Path, folder: Path) -> None:
    """Weights, `config.json` and `generation_config.json`."""
    tokenizer = models.load_tokenizer(folder)
    network = models.open(checkpoint).network
    with quiet():
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(network.config, name, getattr(tokenizer, name))
        network.generation_config = generation_defaults(recipe, tokenizer)
        network.save_pretrained(folder, max_shard_size="1TB")
    _complete_config(folder / "config.json")


def generation_defaults(recipe: Recipe, tokenizer: Any) -> GenerationConfig:
    """How the folder generates by default: up to the end token or the end of the context.

    Without `max_length`, transformers would continue beyond the last position.
    """
    from transformers import GenerationConfig as Untyped

    make: type[Any] = Untyped
    wanted = recipe.export
    sampling = {"do_sample": True, "top_k": wanted.top_k, "top_p": wanted.top_p}
    config: GenerationConfig = make(
        **(sampling if wanted.do_sample else {"do_sample": False}),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_length=recipe.model.n_positions,
    )
    return config


def _complete_config(path: Path) -> None:
    """Add the key names that older readers use."""
    config = files.read_json(path, "model configuration")
    if "n_positions" in config:  # transformers before 4.0, and TensorFlow readers
        config["n_ctx"] = config["n_positions"]
    config["torch_dtype"] = config.get("dtype", "float32")  # transformers before 4.56
    files.write_json(path, dict(sorted(config.items())))


def check(folder: Path, checkpoint: Path) -> None:
    """The folder must load as any user loads it, hold the checkpoint's weights, and generate.

    Raises `JagptError` (or `DataError` from loading) that says what differs.
    """
    loaded = generation.load(folder)
    _check_weights(loaded.model, folder, checkpoint)
    _check_names(loaded.model, folder)
    room = (loaded.context or CHECK_TOKENS + 1) - 1
    try:
        loaded.sample(loaded.encode(""), generation.Drawing(new_tokens=min(CHECK_TOKENS, room)))
    except (RuntimeError, ValueError, IndexError) as error:
        raise JagptError(f"{folder}: the exported model does not generate ({error})") from None


def _check_weights(network: Any, folder: Path, checkpoint: Path) -> None:
    """The loaded weights are bit for bit those of the checkpoint (the averaged ones, if it has
    them).
    """
    import torch

    from jagpt.models.tensors import kept, trained

    theirs, ours = trained(checkpoint), kept(network)
    if odd := sorted(set(theirs.names()) ^ set(ours)):
        raise JagptError(f"{folder}: not the tensors of {checkpoint} ({', '.join(odd[:3])})")
    for name in sorted(ours):
        if not torch.equal(ours[name], theirs.get(name)):
            raise JagptError(f"{folder}: {name} is not as in {checkpoint}")


def _check_names(network: Any, folder: Path) -> None:
    """The loaded class is the one that `config.json` names, with tied embeddings if it says so."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["architectures"] != [type(network).__name__]:
        raise JagptError(
            f"{folder}: config.json names {config['architectures']}, but the folder loads as "
            f"{type(network).__name__}"
        )
    tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
    if network.config.tie_word_embeddings and not tied:
        raise JagptError(f"{folder}: input and output embeddings are no longer tied")
