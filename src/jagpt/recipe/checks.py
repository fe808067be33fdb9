"""All mistakes of a recipe together: where, what was found, what is allowed, the nearest name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from jagpt.errors import RecipeError, did_you_mean
from jagpt.recipe import searching
from jagpt.recipe.sections import (
    LEAST_SIMILARITY,
    SECTIONS,
    SIZES,
    UNSHOWN,
    Corpus,
    Evaluate,
    Exclude,
    Include,
    Model,
    Range,
    Recipe,
    Search,
    Section,
    Source,
    Tokenizer,
    Tokens,
    Train,
)
from jagpt.text import shortened


@dataclass(frozen=True)
class Problem:
    """One mistake: where, what was found, what is allowed."""

    section: str
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        place = f"[{self.section}] {self.key}" if self.section else self.key
        return f"{place}: found {self.found}; {self.allowed}"


def validated(value: Mapping[str, Any], origin: str, problems: Sequence[str] = ()) -> Recipe:
    """A checked recipe, or every mistake of it in one `RecipeError`."""
    if endless := list(_beyond(10**300, value)):  # too long to print, too large for a float
        raise RecipeError(origin, [*problems, *map(str, endless)])
    found: list[Problem] = []
    sections: dict[str, Section] = {}
    for name, section in SECTIONS.items():
        found += _by_field_name(value.get(name), name, section)
        try:
            sections[name] = section.model_validate(value.get(name, {}))
        except ValidationError as error:
            found += [_explain(detail, name, section) for detail in error.errors()]
    top = {key: item for key, item in value.items() if key not in SECTIONS}
    try:
        recipe = Recipe.model_validate({**top, **sections})
    except ValidationError as error:
        found += [_explain(detail, "", Recipe) for detail in error.errors()]
        recipe = None
    found += _combinations(sections)
    told = {(problem.section, problem.key) for problem in found}
    found += [one for one in _beyond(2**64, value) if (one.section, one.key) not in told]
    if found or problems or recipe is None:
        raise RecipeError(origin, [*problems, *map(str, found)])
    return recipe


def _beyond(most: int, value: Any, place: tuple[str, ...] = ()) -> Iterator[Problem]:
    """The integers beyond `most`, also where any value is allowed: no library takes them."""
    if isinstance(value, int) and not -most <= value <= most:
        section, key = (place[0], ".".join(place[1:])) if place[1:] else ("", place[0])
        yield Problem(section, key, "an integer of more than 64 bits", "expected a smaller number")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _beyond(most, item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _beyond(most, item, (*place, str(number)))


def _by_field_name(table: Any, section: str, model: type[Section]) -> Iterator[Problem]:
    """Keys that are only the code's name of a key (`from_`)."""
    keys = table.keys() if isinstance(table, Mapping) else ()
    for name, field in model.model_fields.items():
        if field.alias and name in keys and field.alias not in keys:  # both: pydantic refuses it
            yield _unknown(section, [name], model)


def _unknown(section: str, place: Sequence[str], model: type[Section]) -> Problem:
    names = _field_names(model, place[:-1])
    near = did_you_mean(place[-1], names)
    return Problem(section, ".".join(place), f"a key that does not exist{near}",
                   f"allowed are {', '.join(names)}")  # fmt: skip


def _explain(detail: ErrorDetails, section: str, model: type[Section]) -> Problem:
    """A pydantic error in our words."""
    place = [str(part) for part in detail["loc"]]
    key = ".".join(place) or "table"
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown(section, place, model)
    if kind == "missing":
        return Problem(section, key, "nothing", "this key is required")
    found = detail["ctx"]["found"] if kind == UNSHOWN else _shown(detail["input"])
    return Problem(section, key, found, _allowed(detail))


_WANTED = {
    "greater_than_equal": "allowed is {ge} or more",
    "greater_than": "allowed is more than {gt}",
    "less_than_equal": "allowed is {le} or less",
    "less_than": "allowed is less than {lt}",
    "int_type": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "string_type": "expected a string",
    "string_pattern_mismatch": "expected a string of the form {pattern}",
    "string_too_short": "expected a string that is not empty",
    "tuple_type": "expected a list",
    "model_type": "expected a table",
    "dict_type": "expected a table",
    "too_short": "expected at least {min_length} entry",
}
"""pydantic's error type → what is allowed, with its context's values filled in."""


def _allowed(detail: ErrorDetails) -> str:
    """What a value should have been, from pydantic's error type and context."""
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        options = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"allowed are {', '.join(options)}{did_you_mean(str(detail['input']), options)}"
    wanted = _WANTED.get(detail["type"])
    return wanted.format(**context) if wanted else detail["msg"]


def _combinations(sections: Mapping[str, Section]) -> Iterator[Problem]:
    """Values that are valid alone but not together."""
    corpus, train, model = (sections.get(name) for name in ("corpus", "train", "model"))
    tokens = sections.get("tokens")
    if isinstance(corpus, Corpus):
        shared = tokens.from_ if isinstance(tokens, Tokens) else None
        yield from _check_corpus(corpus, {"corpus": corpus.from_, "tokens": shared})
    if isinstance(model, Model):
        yield from _check_model(model)
    if isinstance(train, Train):
        yield from _check_train(train)
        if isinstance(corpus, Corpus) and corpus.weights and train.order != "documents":
            yield Problem("train", "order", repr(train.order),
                          'a source\'s `weight` goes with "documents"')  # fmt: skip
        if isinstance(model, Model) and (train.block_size or 0) > model.n_positions:
            yield Problem("train", "block_size", str(train.block_size),
                          f"allowed is n_positions ({model.n_positions}) or less")  # fmt: skip
        if train.document_mask and isinstance(tokens, Tokens) and not tokens.end_token:
            yield Problem("train", "document_mask", "true",
                          "it needs tokens.end_token = true")  # fmt: skip
    search = sections.get("search")
    if isinstance(search, Search):
        for key, found, allowed in searching.problems(search.keys, sections):
            yield Problem("search.keys", f'"{key}"', found, allowed)
    tokenizer, evaluate = sections.get("tokenizer"), sections.get("evaluate")
    if isinstance(evaluate, Evaluate) and isinstance(model, Model) and isinstance(train, Train):
        yield from _check_windows(evaluate, train.block_size or model.n_positions)
    if isinstance(tokenizer, Tokenizer):
        yield from _check_tokenizer(tokenizer)


def _check_windows(evaluate: Evaluate, block_size: int) -> Iterator[Problem]:
    if evaluate.stride is None:
        return
    if evaluate.windows == "blocks":
        yield Problem("evaluate", "stride", str(evaluate.stride),
                      'it needs windows = "sliding"')  # fmt: skip
    elif evaluate.stride > block_size:
        yield Problem("evaluate", "stride", str(evaluate.stride),
                      f"allowed is block_size ({block_size}) or less")  # fmt: skip


def _check_corpus(corpus: Corpus, runs: Mapping[str, str | None]) -> Iterator[Problem]:
    """`runs`: those that the corpus comes from, by the section that names one."""
    if not corpus.source and not any(runs.values()):
        yield Problem("corpus", "source", "none", "give a [[corpus.source]] table or `from`")
    for section, run in runs.items():
        if corpus.source and run:
            yield Problem(section, "from", repr(run),
                          "the corpus comes from another run: leave out [[corpus.source]] "
                          "(--set corpus.source=[])")  # fmt: skip
    if sum(corpus.shares) >= 1:
        yield Problem("corpus", "valid_share + test_share",
                      f"{sum(corpus.shares):g}",
                      "the sum must be below 1: the rest is for training")  # fmt: skip
    if 0 < corpus.drop_near_duplicates < LEAST_SIMILARITY:
        yield Problem("corpus", "drop_near_duplicates", f"{corpus.drop_near_duplicates:g}",
                      f"allowed is 0, or {LEAST_SIMILARITY:g} to 1")  # fmt: skip
    yield from _check_templates(corpus.templates)
    if corpus.include.depth and not corpus.include.categories:
        yield Problem("corpus.include", "depth", str(corpus.include.depth),
                      "it needs `categories`")  # fmt: skip
    names = [source.name for source in corpus.source]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("corpus", "source.name", f"{name!r} more than once",
                      "each source needs its own name")  # fmt: skip
    for number, source in enumerate(corpus.source):
        yield from _check_source(source, f"source.{number}")


_ROWS = ("jsonl", "parquet", "wikitext", "hf")
_KINDS_OF_KEY: dict[str, tuple[str, ...]] = {
    "wiki": ("dump",),
    "date": ("dump", "cirrus", "wikiextractor"),
    "layout": ("text",),
    "encoding": ("text",),
    "markup": ("text",),
    "split_characters": ("text",),
    "column": _ROWS,
    "title_column": _ROWS,
    "id_column": _ROWS,
    "url_column": _ROWS,
    "revision_column": _ROWS,
    "dataset": ("hf",),
    "config": ("hf",),
    "dataset_split": ("hf",),
    "revision": ("hf",),
}
"""A source's keys that only some kinds have."""


def _check_templates(templates: Mapping[str, str]) -> Iterator[Problem]:
    from jagpt.wikitext.templates import compile_format

    for name, form in templates.items():
        try:
            compile_format(form)
        except ValueError as error:
            yield Problem("corpus.templates", name, repr(form), str(error).rpartition(": ")[2])


def _check_source(source: Source, key: str) -> Iterator[Problem]:
    for name, kinds in _KINDS_OF_KEY.items():
        value = getattr(source, name)
        if source.kind not in kinds and value != Source.model_fields[name].default:
            allowed = " or ".join(f'"{kind}"' for kind in kinds)
            yield Problem("corpus", f"{key}.{name}", repr(value),
                          f"it needs kind = {allowed}")  # fmt: skip
    if source.markup == "aozora" and source.layout != "file":
        yield Problem("corpus", f"{key}.layout", repr(source.layout),
                      'markup = "aozora" needs "file"')  # fmt: skip
    if source.kind == "hf":
        yield from _check_dataset(source, key)
    elif source.kind == "dump":
        if not source.path and not (source.wiki and source.date):
            yield Problem("corpus", f"{key}.path", "nothing",
                          "a dump needs a `path`, or `wiki` and `date`")  # fmt: skip
    elif not source.path:
        yield Problem("corpus", f"{key}.path", "nothing",
                      f"a {source.kind} source needs a `path`")  # fmt: skip


def _check_dataset(source: Source, key: str) -> Iterator[Problem]:
    if source.path:
        yield Problem("corpus", f"{key}.path", repr(source.path),
                      "name the data set with `dataset`")  # fmt: skip
    if not source.dataset:
        yield Problem("corpus", f"{key}.dataset", "nothing", "the id of the data set is required")
    elif not source.revision and not source.dataset.startswith(("/", ".")):
        yield Problem("corpus", f"{key}.revision", "nothing",
                      "the commit or tag of the data set is required: without it the same recipe "
                      "can give a different corpus tomorrow")  # fmt: skip


def _check_tokenizer(tokenizer: Tokenizer) -> Iterator[Problem]:
    if tokenizer.revision and not tokenizer.from_:
        yield Problem("tokenizer", "revision", repr(tokenizer.revision),
                      "it needs a hub id in `from`")  # fmt: skip
    least = tokenizer.least_vocab_size
    trained = tokenizer.from_ is None and not tokenizer.size_is_open
    if trained and tokenizer.vocab_size < least:
        yield Problem("tokenizer", "vocab_size", str(tokenizer.vocab_size),
                      f"allowed is {least} or more with these settings (byte_fallback and "
                      "keep_newlines need their own pieces)")  # fmt: skip
    if tokenizer.byte_fallback and not tokenizer.exact:
        yield Problem("tokenizer", "byte_fallback", "true",
                      "it needs keep_newlines = true, add_dummy_prefix = false and "
                      "normalization identity or nfkc (otherwise transformers cannot "
                      "decode)")  # fmt: skip


def _check_model(model: Model) -> Iterator[Problem]:
    if model.n_embd % model.n_head:
        yield Problem("model", "n_embd", str(model.n_embd),
                      f"it must be a multiple of n_head ({model.n_head})")  # fmt: skip
    for name, value in SIZES.get(model.size or "", {}).items():
        found = getattr(model, name)
        if found != value:
            yield Problem("model", name, str(found),
                          f"size = \"{model.size}\" means {value}: leave one out")  # fmt: skip
    if model.revision and not model.from_:
        yield Problem("model", "revision", repr(model.revision),
                      "it needs a hub id in `from`")  # fmt: skip
    if model.embeddings == "text":
        yield from _check_text_embeddings(model)
    for name in sorted(name for name, value in model.config.items() if _infinite(value)):
        yield Problem("model.config", name, _shown(model.config[name]), "expected a finite number")
    for name in sorted(_OWN_CONFIG & set(model.config)):
        yield Problem("model.config", name, _shown(model.config[name]),
                      "[model] has a key for it, or the tokenizer decides it")  # fmt: skip


def _infinite(value: Any) -> bool:
    """Whether `value` contains a number that JSON does not know."""
    if isinstance(value, dict | list):
        return any(map(_infinite, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and not math.isfinite(value)


def _check_text_embeddings(model: Model) -> Iterator[Problem]:
    if model.from_:
        yield Problem("model", "embeddings", "'text'",
                      "it is for a new network: leave out `from` or this key")  # fmt: skip
    tied = model.config.get("tie_word_embeddings", True)
    if model.type not in ("gpt2", "gpt_neo") or not tied:
        yield Problem("model", "embeddings", "'text'",
                      "it needs the tied embeddings of gpt2 or gpt_neo")  # fmt: skip


_OWN_CONFIG = {
    "n_layer", "n_head", "n_embd", "n_positions", "num_hidden_layers", "num_layers", "hidden_size",
    "num_attention_heads", "num_heads", "max_position_embeddings", "vocab_size", "bos_token_id",
    "eos_token_id", "pad_token_id", "embd_pdrop", "attn_pdrop", "resid_pdrop", "embed_dropout",
    "attention_dropout", "resid_dropout", "model_type", "use_cache",
}  # fmt: skip
"""Names of configurations that `[model]`'s own keys and the tokenizer set."""


def _check_train(train: Train) -> Iterator[Problem]:
    if train.max_steps is None and train.max_epochs is None:
        yield Problem("train", "max_steps", "nothing", "give `max_steps` or `max_epochs`")
    if train.max_steps is not None and train.warmup_steps > train.max_steps:
        yield Problem("train", "warmup_steps", str(train.warmup_steps),
                      f"allowed is max_steps ({train.max_steps}) or less")  # fmt: skip
    yield from _check_batch(train)
    if train.decay_steps is not None:
        if train.schedule == "constant":
            yield Problem("train", "decay_steps", str(train.decay_steps),
                          "it goes with schedule = \"linear\", \"cosine\" or \"wsd\"")  # fmt: skip
        if train.warmup_steps >= train.decay_steps:
            yield Problem("train", "decay_steps", str(train.decay_steps),
                          f"it must be more than warmup_steps ({train.warmup_steps})")  # fmt: skip
    if train.optimizer == "adam" and train.weight_decay:
        yield Problem("train", "weight_decay", str(train.weight_decay),
                      "optimizer = \"adam\" has none: set 0.0, or choose \"adamw\"")  # fmt: skip


def _check_batch(train: Train) -> Iterator[Problem]:
    sequences = train.sequences_per_step
    if train.batch_is_open and sequences is None:
        yield Problem("train", "sequences_per_step", "nothing",
                      'batch_size = "auto" needs this key')  # fmt: skip
    elif train.batch_is_open and train.grad_accum_steps != 1:
        yield Problem("train", "grad_accum_steps", str(train.grad_accum_steps),
                      'with batch_size = "auto", give sequences_per_step instead')  # fmt: skip
    elif sequences not in (None, train.sequences):
        yield Problem("train", "sequences_per_step", str(sequences),
                      f"batch_size × grad_accum_steps is {train.sequences}")  # fmt: skip


def _field_names(model: type[Section], place: Sequence[str]) -> list[str]:
    """TOML names of the fields of the table at `place` below `model`."""
    if model is Corpus and place[:1] == ["source"]:
        model = Source
    if model is Search:
        model = Range
    if model is Corpus and place[:1] == ["exclude"]:
        model = Exclude
    if model is Corpus and place[:1] == ["include"]:
        model = Include
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(value: Any) -> str:
    """A value as a message shows it: as TOML would write it, and not too long."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict):
        text = "a table"
    else:
        text = repr(value)
    return shortened(text, 60)
