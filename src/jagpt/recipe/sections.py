"""The recipe's typed sections; each field carries its own help text.

Everything outside `[execution]` is semantic: it enters the fingerprint of the stage that reads it,
except keys that name a path, for which the content of the files enters.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from jagpt.errors import NAME_BYTES, PATH_BYTES

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
UpToOne = Annotated[float, Field(ge=0.0, le=1.0)]
AUTO = "auto"
INT64 = 2**63 - 1
"""The largest integer in TOML, and for counts in NumPy and PyTorch."""
Positive = Annotated[int, Field(ge=1, le=INT64)]
NotNegative = Annotated[int, Field(ge=0, le=INT64)]
BatchSize = Annotated[
    Positive,
    WrapValidator(lambda value, number: value if value == AUTO else number(value)),
    PlainSerializer(lambda value: value),
]
"""A number, or `"auto"` in a recipe that leaves it to the machine (`Train.batch_is_open`)."""
VocabSize = Annotated[
    Annotated[int, Field(ge=7, le=1_000_000)],
    WrapValidator(lambda value, number: value if value == AUTO else number(value)),
    PlainSerializer(lambda value: value),
]
"""A number, or `"auto"` to derive it from the corpus (`Tokenizer.size_is_open`)."""
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]
"""The largest seed that `torch.manual_seed` takes and 8 bytes hold."""
Checkpoint = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)]
"""A step needs no quotes: `checkpoint = 5000`."""
CHECKPOINT = r"^(best|last|[0-9]{1,18})$"
Split = Literal["train", "valid", "test"]

SAMPLE = "jagpt:sample"
LEAST_SIMILARITY = 0.5
"""Below this, MinHash's bands match nearly everything."""
RESERVED_CONTROL_PIECES = 6
"""<pad>, <unk>, <s>, </s>, <cls>, <sep>: the smallest vocabulary must hold them."""
BYTE_PIECES = 256
DEFAULT_SHARE = 0.005
"""Of documents in valid, and in test, where a recipe says nothing."""
WIKIPEDIA_PROMPT = "統計的推定を使うことで、"
SPELLING_PIECES = 31
"""Characters that the exact form needs (`tokenizer.model.SPELLING`)."""


TOO_LONG = f"a file's name has at most {NAME_BYTES} bytes, a path {PATH_BYTES:,}"


def _is_too_long(path: str) -> bool:
    encoded = path.encode("utf-8", "surrogatepass")
    return len(encoded) > PATH_BYTES or max(map(len, encoded.split(b"/"))) > NAME_BYTES


def _fit_path(path: str) -> str:
    if _is_too_long(path):
        raise PydanticCustomError("long_path", TOO_LONG)
    if not path:  # by min_length, pydantic would refuse a name that is not UTF-8 too
        raise PydanticCustomError("empty_path", "expected a string that is not empty")
    if "\0" in path:
        raise PydanticCustomError("nul_path", "a path has no NUL character")
    return path


FilePath = Annotated[str, AfterValidator(_fit_path)]

UNSHOWN = "unshown"
"""pydantic's error type of a refused place: it may be secret, so `found` is shown in its stead."""


def place_problem(place: str) -> str | None:
    """What is wrong with the name of a remote place, without repeating it."""
    scheme, found, rest = place.partition("://")
    if not found:
        scheme, rest = "file", place
    authority = rest.partition("/")[0]
    secret = r"@" if scheme in ("s3", "s3a", "gs", "gcs") else r":.*@"
    if re.search(r"[?#]", rest) or re.search(secret, authority):
        return (
            "it contains credentials or a query; remove them: credentials come from the "
            "environment "
            "or the provider's own store"
        )
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or re.search(r"::|[\x00-\x20\x7f\\\\]", rest):
        return "expected a URL such as s3://bucket/prefix, or an absolute path"
    if scheme in ("file", "local") and not rest.startswith("/"):
        return "expected an absolute path"
    if not rest.strip("/") or {".", ".."} & set(rest.split("/")):
        return "expected a bucket or folder, without . and .. in its name"
    return TOO_LONG if scheme in ("file", "local") and _is_too_long(rest) else None


def _fit_place(place: str) -> str:
    if problem := place_problem(place):
        raise PydanticCustomError(UNSHOWN, "{problem}", {"problem": problem, "found": "a path"})
    return place.rstrip("/")


RemotePlace = Annotated[str, AfterValidator(_fit_place)]


def mirror_problem(address: str) -> str | None:
    """What is wrong with the address of a dump server, without repeating it."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        usable = None
    if not usable or re.search(r"\s", address):
        return "expected a web address of the form https://dumps.wikimedia.org"
    if "@" in parts.netloc or re.search(r"[?#]", address):
        return (
            "it contains a user, a password, a query or a fragment; remove them: the address is "
            "shown, and written to disk"
        )
    return None


def _fit_mirror(address: str) -> str:
    if problem := mirror_problem(address):
        raise PydanticCustomError(UNSHOWN, "{problem}", {"problem": problem, "found": "an address"})
    return address


Mirror = Annotated[str, AfterValidator(_fit_mirror)]


class Section(BaseModel):
    """A table of the recipe: unknown keys are refused, values are immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, strict=True, allow_inf_nan=False
    )

    places: ClassVar[frozenset[str]] = frozenset({"from", "path"})
    """Keys that name a path: its content enters a fingerprint, the name does not."""
    later: ClassVar[frozenset[str]] = frozenset()
    """Keys newer than existing results: with their default value they enter no fingerprint."""

    def semantic(self) -> dict[str, Any]:
        """The fields that can change a result, in their TOML names, as plain JSON values."""
        unset = {key for key in self.later if getattr(self, key) == self._default(key)}
        value = self.model_dump(mode="json", by_alias=True, exclude=unset)
        return {key: item for key, item in value.items() if key not in self.places}

    @classmethod
    def _default(cls, key: str) -> Any:
        return cls.model_fields[key].default


class Source(Section):
    """One `[[corpus.source]]`: where documents come from, and under which licence."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Name of the source; it affects each document's split and appears in the model "
        "card.",
    )
    kind: Literal[
        "dump", "text", "jsonl", "parquet", "wikitext", "cirrus", "wikiextractor", "hf"
    ] = Field(
        "dump",
        description="`dump`: a MediaWiki export. `text`: plain text files. `jsonl`, `parquet`: "
        "rows with a column of text. `wikitext`: JSON Lines with `title` and `wikitext`. `cirrus`: "
        "a CirrusSearch content dump. `wikiextractor`: its output folder. `hf`: a Hugging Face "
        "data set.",
    )
    path: FilePath | None = Field(
        None,
        description="A file, a glob pattern for several, or WikiExtractor's folder; relative to "
        f"the recipe's folder. `{SAMPLE}` is the bundled sample.",
    )
    wiki: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]{1,40}$",
        description="Database name of a wiki (`jawiki`), instead of `path`.",
    )
    date: str | None = Field(
        None,
        pattern=r"^[0-9]{8}$",
        description="Date of the dump, such as `20210820`; by default taken from the file name.",
    )
    licence: str = Field(
        "unknown", min_length=1, description="Licence of the texts, as the model card states it."
    )
    split: Split | None = Field(
        None, description="Put all documents of this source into one split (ready-made splits)."
    )
    weight: Annotated[float, Field(ge=0.1, le=10.0)] = Field(
        1.0,
        description="How often its documents appear in an epoch of training, on average: `2.0` "
        "twice, `0.5` in every other one. The corpus stays the same; goes with "
        '`train.order = "documents"`.',
    )
    layout: Literal["file", "line", "block"] = Field(
        "file",
        description="`text` only. One document per file, per line, or per block of lines between "
        "blank lines (its first line is the title).",
    )
    encoding: Literal[
        "utf-8", "auto", "cp932", "shift_jis_2004", "euc_jp", "euc_jis_2004", "iso2022_jp"
    ] = Field(
        "utf-8",
        description="`text` only. The files' encoding; `cp932` is Shift JIS as Windows writes it; "
        "`auto` detects it from the beginning of each file.",
    )
    markup: Literal["plain", "aozora"] = Field(
        "plain",
        description="`text` only. `aozora`: Aozora Bunko's form; ruby, notes, header and colophon "
        'go. With `layout = "file"`.',
    )
    split_characters: Annotated[int, Field(ge=100, le=INT64)] | None = Field(
        None,
        description="`text` only. Longer documents are split into pieces of at most this "
        "many characters, at line or sentence ends.",
    )
    column: str | None = Field(
        None,
        min_length=1,
        description="Column with the text; by default `text`, or `wikitext` for that kind.",
    )
    title_column: str | None = Field(
        None, min_length=1, description="Column with the title; `title` for `wikitext`."
    )
    id_column: str | None = Field(
        None,
        min_length=1,
        description="Column with the id, which decides the split (`hash`); by default a hash of "
        "title and text.",
    )
    url_column: str | None = Field(None, min_length=1, description="Column with the URL.")
    revision_column: str | None = Field(
        None, min_length=1, description="Column with the page's revision number."
    )
    dataset: FilePath | None = Field(
        None,
        min_length=1,
        description="`hf`: id of the data set, such as `org/name`; a folder begins with `/` or "
        "`.`.",
    )
    config: str | None = Field(
        None,
        min_length=1,
        description="`hf`: configuration of the data set, such as `20231101.ja`.",
    )
    dataset_split: str = Field("train", min_length=1, description="`hf`: split of the data set.")
    revision: str | None = Field(
        None, min_length=1, description="`hf`: commit or tag of the data set; required with an id."
    )

    later = frozenset({"encoding", "markup", "split_characters"})

    def semantic(self) -> dict[str, Any]:
        """Everything except the weight, which only enters the fingerprint of training."""
        return {key: item for key, item in super().semantic().items() if key != "weight"}

    @model_validator(mode="before")
    @classmethod
    def _date_as_given_or_named(cls, value: object) -> object:
        """`date = 20210820` needs no quotes, and the date may come from the dump's file name."""
        if not isinstance(value, dict):
            return value
        date = value.get("date")
        if type(date) is int:
            return {**value, "date": str(date)}
        named = re.search(r"-([0-9]{8})-pages-[^/]*$", str(value.get("path", "")))
        return {**value, "date": named[1]} if date is None and named else value


class Exclude(Section):
    """`[corpus.exclude]`: articles to leave out, for instance after a request for removal."""

    ids: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Ids of documents; `SOURCE:ID` limits one to a source.",
    )
    titles: tuple[str, ...] = Field((), strict=False, description="Exact titles.")
    categories: tuple[str, ...] = Field(
        (), strict=False, description="Exact category names, without the namespace."
    )

    @field_validator("ids", mode="before")
    @classmethod
    def _numbers_are_ids_too(cls, value: object) -> object:
        """`ids = [12345]` needs no quotes."""
        if not isinstance(value, list | tuple):
            return value
        return [str(entry) if type(entry) is int else entry for entry in value]


class Include(Section):
    """`[corpus.include]`: the articles to take, by any of these; everything by default."""

    titles: tuple[str, ...] = Field((), strict=False, description="Exact titles.")
    title_patterns: tuple[str, ...] = Field(
        (), strict=False, description="Titles by shell patterns, such as `*駅` or `日本の*`."
    )
    categories: tuple[str, ...] = Field(
        (), strict=False, description="Exact category names, without the namespace."
    )
    depth: NotNegative = Field(
        0,
        description="Levels of subcategories to include, as given by the Category pages of the "
        "dump.",
    )

    @property
    def everything(self) -> bool:
        return not (self.titles or self.title_patterns or self.categories)

    @property
    def titles_only(self) -> bool:
        return bool(self.titles) and not (self.title_patterns or self.categories)


class Corpus(Section):
    """`[corpus]`: from sources to documents in three splits."""

    places = Section.places | {"hojichar"}
    later = frozenset({"include"})

    from_: FilePath | None = Field(
        None,
        alias="from",
        description="Directory of another run: share its corpus. The other keys then have no "
        "effect.",
    )
    source: tuple[Source, ...] = Field((), description="The sources, in order.", strict=False)
    split: Literal["hash", "first-lines"] = Field(
        "hash",
        description="`hash`: by a hash of source name and page id. `first-lines`: as the original "
        "did, see `valid_lines`.",
    )
    valid_share: Share | None = Field(
        None,
        description="Share of documents in the valid split (`hash`). By default 0.005; in a small "
        "corpus, enough for 20 documents, or a tenth of them if that is fewer.",
    )
    test_share: Share | None = Field(None, description="The same for the test split.")
    valid_lines: NotNegative = Field(
        500_000, description="`first-lines`: the first this many lines go to the valid split."
    )
    test_lines: NotNegative = Field(
        500_000, description="`first-lines`: the next this many lines go to the test split."
    )
    min_characters: NotNegative = Field(50, description="Shorter documents are left out.")
    min_japanese_share: Share = Field(
        0.0, description="Minimum share of Japanese letters among a document's letters."
    )
    drop_disambiguation: bool = Field(True, description="Leave out disambiguation pages.")
    drop_list_pages: bool = Field(
        False, description="Leave out pages that consist of a list without prose."
    )
    drop_duplicates: bool = Field(
        True, description="Of documents with identical text, keep the first."
    )
    drop_near_duplicates: UpToOne = Field(
        0.0,
        description="Leave out a document that is this similar to an earlier one: Jaccard "
        "similarity "
        "of character 5-grams, by MinHash; 0.5 to 1, or 0 to turn it off. Needs the extra `dedup`.",
    )
    drop_overlap: UpToOne = Field(
        0.0,
        description="Leave out of train a document that contains this share of a test or "
        "valid document's sentences, or that has this share of its own sentences there; 0 turns it "
        "off.",
    )
    hojichar: FilePath | None = Field(
        None,
        min_length=1,
        description="A HojiChar profile (JSON), relative to the recipe's folder. Needs the "
        "extra `hojichar`.",
    )
    include: Include = Field(
        Include(), description="Titles and categories of the articles to take."
    )
    exclude: Exclude = Field(
        Exclude(), description="Ids, titles and categories of articles to leave out."
    )
    markup: Literal["plain", "markdown"] = Field(
        "plain",
        description="Form of the text made from wikitext: `plain` lines, or Markdown with "
        "headings, lists, tables, formulas and code as GitHub renders them.",
    )
    headings: bool = Field(True, description="Keep section headings as lines.")
    closing_sections: bool = Field(
        False,
        description="Keep closing sections such as 脚注, 出典, 参考文献, 外部リンク, 関連項目.",
    )
    citations: bool = Field(True, description="Keep citations in lists, such as a person's works.")
    tables: bool | None = Field(
        None, description="Keep the text of tables; by default only Markdown keeps it."
    )
    captions: bool = Field(False, description="Keep the captions of files.")
    math: bool = Field(True, description="Keep inline formulas as LaTeX.")
    skip_damaged: bool = Field(
        False,
        description="Skip damaged parts of a dump and continue at the next stream or page; "
        "`stats.json` "
        "counts what was lost.",
    )
    templates: dict[str, str] = Field(
        {},
        description="Templates by name, each with the format that renders it (`{1}` is its first "
        "argument) or an empty string to drop it; they take precedence over jagpt's own table.",
    )

    @property
    def shares(self) -> tuple[float, float]:
        """The shares of valid and test in a large corpus."""
        given = (self.valid_share, self.test_share)
        valid, test = (DEFAULT_SHARE if share is None else share for share in given)
        return valid, test

    @property
    def weights(self) -> dict[str, float]:
        """The weights of sources other than 1."""
        return {source.name: source.weight for source in self.source if source.weight != 1.0}

    @property
    def keeps_tables(self) -> bool:
        return self.markup == "markdown" if self.tables is None else self.tables

    def semantic(self) -> dict[str, Any]:
        sources = [source.semantic() for source in self.source]
        return {**super().semantic(), "source": sources}


class Tokenizer(Section):
    """`[tokenizer]`: SentencePiece training, or an existing tokenizer.

    With the defaults nothing is lost or unknown, and decoding gives back the text. The original's
    settings are `normalization = "nmt_nfkc"`, `byte_fallback = false`, `keep_newlines = false`,
    `split_digits = false`.
    """

    from_: FilePath | None = Field(
        None,
        alias="from",
        description="Use an existing tokenizer: a run's directory, a tokenizer folder, a bare "
        "`.model` file or a hub id. The other keys then have no effect, except `revision`, and a "
        "`vocab_size` other than the default, which the tokenizer must match.",
    )
    revision: str | None = Field(None, description="Revision of a hub id.")
    type: Literal["unigram", "bpe"] = Field("unigram", description="Algorithm of SentencePiece.")
    vocab_size: VocabSize = Field(
        32_000,
        description="Number of pieces, including special ones. `auto`: by the amount of text, "
        "at most 32,000.",
    )
    sentences: Positive = Field(
        1_000_000, description="Sentences drawn from the train split to learn from."
    )
    character_coverage: Annotated[float, Field(ge=0.98, le=1.0)] = Field(
        0.9995, description="Share of the text's characters whose letters get their own piece."
    )
    normalization: Literal["nmt_nfkc", "nfkc", "identity"] = Field(
        "identity", description="Normalization that SentencePiece applies before splitting text."
    )
    add_dummy_prefix: bool = Field(False, description="Put a space before each text.")
    byte_fallback: bool = Field(True, description="Spell characters without a piece as bytes.")
    keep_newlines: bool = Field(
        True, description="Line breaks have their own piece, and white space is kept as it is."
    )
    split_digits: bool = Field(True, description="Each digit is its own piece.")
    seed: Seed = Field(1000, description="Seed for drawing the sentences.")

    @property
    def size_is_open(self) -> bool:
        """Whether the number of pieces is derived from the corpus."""
        return str(self.vocab_size) == AUTO

    @property
    def exact(self) -> bool:
        """Whether these settings allow the exact form, in which nothing of a text is lost."""
        plain = self.keep_newlines and not self.add_dummy_prefix
        return plain and self.normalization != "nmt_nfkc"

    @property
    def least_vocab_size(self) -> int:
        """Pieces that SentencePiece needs, whatever the corpus contains."""
        return (
            RESERVED_CONTROL_PIECES
            + self.keep_newlines  # "\n" is a piece
            + BYTE_PIECES * self.byte_fallback
            + SPELLING_PIECES * self.exact
        )


class Tokens(Section):
    """`[tokens]`: from documents to token shards."""

    from_: FilePath | None = Field(
        None,
        alias="from",
        description="Directory of another run: share its tokens, and the corpus and tokenizer they "
        "were made from. The other keys of these three sections then have no effect.",
    )
    end_token: bool = Field(True, description="Append the end token to each document.")
    by_line: bool = Field(
        False, description="Encode line by line and join without separators, as the original did."
    )


SIZES: dict[str, dict[str, int]] = {
    "small": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}
"""GPT-2's four sizes (Radford et al. 2019)."""


class Model(Section):
    """`[model]`: the network, its shape, and the weights it starts from."""

    from_: FilePath | None = Field(
        None,
        alias="from",
        description="Start from these weights: a run's directory, a folder with safetensors, or a "
        "hub id. Shape and tokenizer must match them.",
    )
    revision: str | None = Field(None, min_length=1, description="Revision of a hub id.")
    type: str = Field(
        "gpt2",
        pattern=r"^[a-z][a-z0-9_-]{0,63}$",
        description="Model type in transformers: `gpt2`, `gpt_neo`, `llama` or another causal "
        "language model.",
    )
    size: Literal["small", "medium", "large", "xl"] | None = Field(
        None, description="A size of GPT-2, which sets `n_layer`, `n_head` and `n_embd`."
    )
    n_layer: Annotated[int, Field(ge=1, le=512)] = Field(12, description="Number of blocks.")
    n_head: Annotated[int, Field(ge=1, le=512)] = Field(
        12, description="Attention heads per block."
    )
    n_embd: Annotated[int, Field(ge=1, le=65_536)] = Field(768, description="Width.")
    n_positions: Annotated[int, Field(ge=2, le=1_048_576)] = Field(
        1024, description="Longest sequence in tokens."
    )
    dropout: Share = Field(0.1, description="Dropout of embeddings, attention and residuals.")
    embeddings: Literal["random", "text"] = Field(
        "random",
        description="Initial embeddings of a new network: `random` as its class sets them, or "
        "`text`, from the frequencies and neighbours of the pieces (`gpt2` and `gpt_neo`).",
    )
    embeddings_tokens: Positive = Field(
        4_194_304,
        description="`text`: count this many tokens, the first in the run's order (at most "
        "an epoch), even if training uses fewer.",
    )
    config: dict[str, Any] = Field(
        {},
        description="More keys of the type's configuration in transformers, such "
        "as `intermediate_size` or `window_size`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _shape_of_the_size(cls, value: object) -> object:
        size = SIZES.get(str(value.get("size"))) if isinstance(value, dict) else None
        return {**size, **value} if size and isinstance(value, dict) else value

    def semantic(self) -> dict[str, Any]:
        """Without `size`, which only stands for other keys, and `revision`, which belongs to a
        path.
        """
        value = super().semantic()
        return {key: item for key, item in value.items() if key not in ("size", "revision")}


class Train(Section):
    """`[train]`: the recipe of the optimization."""

    places: ClassVar[frozenset[str]] = frozenset({"teacher"})
    later: ClassVar[frozenset[str]] = frozenset(
        {"own_teachers", "teacher_weight", "teacher_temperature"}
    )

    seed: Seed = Field(1000, description="Seed of weights, order and dropout.")
    batch_size: BatchSize = Field(
        2,
        description="Sequences per forward pass (micro-batch). `auto`: as many as fit into GPU "
        "memory, "
        "with `sequences_per_step` in total.",
    )
    grad_accum_steps: Positive = Field(16, description="Micro-batches per optimizer step.")
    sequences_per_step: Positive | None = Field(
        None,
        description="Sequences per optimizer step, in micro-batches of any size; replaces "
        "`grad_accum_steps`.",
    )
    block_size: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Tokens per sequence; by default `n_positions`."
    )
    max_steps: Positive | None = Field(None, description="Stop after this many optimizer steps.")
    max_epochs: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="Stop after this many passes over the train split."
    )
    order: Literal["documents", "blocks", "buffer"] = Field(
        "documents",
        description="`documents`: documents are reshuffled and repacked each epoch, and the "
        "sequences shuffled. "
        "`blocks`: fixed blocks, shuffled. `buffer`: the original's shuffle buffer over fixed "
        "blocks.",
    )
    shuffle_buffer: Positive = Field(100_000, description="Blocks in the shuffle buffer.")
    document_mask: bool = Field(
        False,
        description="Attention does not cross document boundaries, and positions restart with each "
        "document; also in validation and evaluation.",
    )
    optimizer: Literal["muon", "adamw", "adam"] = Field(
        "adamw",
        description="`muon`: Muon for the blocks' matrices, AdamW for embeddings, biases and "
        "norms. `adam`: without decay.",
    )
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        6e-4, description="Peak learning rate (of Adam, AdamW)."
    )
    beta1: Share = Field(0.9, description="Adam's first decay rate.")
    beta2: Share = Field(0.99, description="Adam's second decay rate; 0.95 suits large batches.")
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = Field(1e-8, description="Adam's epsilon.")
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        0.1, description="Decoupled weight decay of what AdamW updates, except biases and norms."
    )
    muon_learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        0.02, description="`muon`: peak learning rate of the matrices."
    )
    muon_weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        0.1, description="`muon`: decoupled weight decay of the matrices."
    )
    muon_momentum: Share = Field(0.95, description="`muon`: Nesterov momentum.")
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        "wsd",
        description="Learning rate after warm-up. `wsd`: constant, then linear decay over "
        "the last `decay_share` of the steps.",
    )
    decay_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.2, description="`wsd`: share of the steps in which the rate decays."
    )
    warmup_steps: NotNegative = Field(0, description="Steps of linear warm-up from 0.")
    decay_steps: Positive | None = Field(
        None, description="Step at which the schedule ends; by default the last step."
    )
    min_learning_rate_share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0, description="Share of the peak rate that is left at the end of the schedule."
    )
    average: Literal["none", "tail", "ema"] = Field(
        "none",
        description="Average the weights over the last `average_share` of the steps: `tail` "
        "weights them equally, `ema` uses `average_decay`. Validation, evaluation and export "
        "then use the average.",
    )
    average_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.2, description="Share of the steps, at the end, over which weights are averaged."
    )
    average_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.999, description="`ema`: share of the previous average that each step keeps."
    )
    clip_norm: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="Clip the gradient to this norm; no clipping by default."
    )
    teacher: tuple[FilePath, ...] = Field(
        (),
        strict=False,
        description="Teachers for distillation: runs, folders or hub ids (ORG/NAME@REVISION) "
        "with the run's own tokenizer; the mean of their probabilities is the target.",
    )
    own_teachers: Annotated[int, Field(ge=0, le=64)] = Field(
        0,
        description="First train this many networks from the same recipe, with the seeds after "
        "`seed`, and use them as teachers too.",
    )
    teacher_weight: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        1.0,
        description="Weight of the KL divergence from the teachers; the loss on the labels has "
        "weight 1.",
    )
    teacher_temperature: Annotated[float, Field(gt=0.0, le=100.0)] = Field(
        1.0, description="Divides the logits on both sides of that divergence."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Arithmetic of the matrix products (weights stay fp32). `auto`: bf16 where the "
        "hardware supports it, else fp16 on a GPU that supports it, else fp32; a run keeps the "
        "precision it began with, on any machine.",
    )
    compile: bool = Field(
        False,
        description="Compile the network with torch.compile (on a CPU that needs a C++ compiler); "
        "results may differ in rounding.",
    )
    deterministic: bool = Field(
        True, description="Use only kernels whose results are reproducible bit for bit."
    )
    validate_every: Positive = Field(1000, description="Steps between validations.")
    validate_tokens: Positive | None = Field(
        None, description="Use at most this many tokens of the valid split; all by default."
    )
    checkpoint_every: Positive = Field(1000, description="Steps between checkpoints.")
    keep_checkpoints: Positive = Field(
        2, description="Number of latest checkpoints to keep, in addition to the best."
    )
    patience: Positive | None = Field(
        None, description="Stop early after this many validations without a better loss."
    )
    on_bad_step: Literal["stop", "skip", "rewind"] = Field(
        "stop",
        description="Reaction to a NaN or infinite loss or gradient, or a spike. `stop`: the run "
        "fails. `skip`: the step's update is skipped. `rewind`: return to the last checkpoint that "
        "was due and continue with the data after the bad step.",
    )
    spike_factor: Annotated[float, Field(gt=1.0)] | None = Field(
        None,
        description="A loss above this many times the mean of the last `spike_window` good steps "
        "counts as a spike; by default only NaN and infinity count as bad.",
    )
    spike_window: Positive = Field(
        100, description="Number of good steps that a loss is compared with."
    )
    max_bad_steps: Positive = Field(10, description="The run fails after more bad steps than this.")

    @model_validator(mode="before")
    @classmethod
    def _passes_of_a_step(cls, value: object) -> object:
        if not isinstance(value, dict) or value.get("grad_accum_steps", 1) != 1:
            return value
        default = cls.model_fields["batch_size"].default
        size, sequences = value.get("batch_size", default), value.get("sequences_per_step")
        if size == AUTO:  # a placeholder: the machine chooses
            return {**value, "grad_accum_steps": 1}
        if type(size) is type(sequences) is int and size > 0 and sequences % size == 0:
            return {**value, "grad_accum_steps": sequences // size}
        return value

    @property
    def batch_is_open(self) -> bool:
        """Whether the micro-batch is left to the machine and not chosen yet."""
        return str(self.batch_size) == AUTO

    @property
    def sequences(self) -> int:
        """Sequences per optimizer step, over all micro-batches."""
        if self.batch_is_open:
            return self.sequences_per_step or 1
        return self.batch_size * self.grad_accum_steps

    def in_batches_of(self, size: int) -> Train:
        """The same steps in micro-batches of `size` sequences, which divides them."""
        passes = self.sequences // size
        return self.model_copy(update={"batch_size": size, "grad_accum_steps": passes})

    def semantic(self) -> dict[str, Any]:
        """Without the key that only stands for others."""
        value = super().semantic()
        del value["grad_accum_steps" if self.batch_is_open else "sequences_per_step"]
        return value


class Evaluate(Section):
    """`[evaluate]`: loss and perplexity on the test split."""

    later = frozenset({"suite"})

    checkpoint: Checkpoint = Field(
        "best", pattern=CHECKPOINT, description="`best`, `last` or a step."
    )
    split: Split = Field("test", description="The split to measure.")
    windows: Literal["blocks", "sliding"] = Field(
        "blocks",
        description="`blocks`: windows of `block_size` tokens without overlap, as the original. "
        "`sliding`: overlapping windows; each token is measured once, in the first window that "
        "contains it.",
    )
    stride: Positive | None = Field(
        None,
        description="Tokens by which a sliding window advances; by default half its size.",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Arithmetic of the matrix products."
    )
    suite: Literal["ja"] | None = Field(
        None,
        description="Tasks of lm-evaluation-harness to run as well, for `test.json` and the "
        "card: `ja` is JCommonsenseQA, JNLI, MARC-ja, JSQuAD and XWinograd-ja. Needs the extra "
        "`harness`; the data come from the hub.",
    )
    memorization_samples: NotNegative = Field(
        32,
        description="Number of texts to generate, to report the share of their 50-character spans "
        "that occur in the train split; 0 for none.",
    )


FormatName = Literal[
    "pytorch", "tensorflow", "flax", "onnx", "onnx-fp16", "onnx-int8",
    "ctranslate2", "ctranslate2-int8", "gguf-f32", "gguf-f16", "gguf-q8_0",
    "gguf-q5_k_m", "gguf-q4_k_m", "openvino",
]  # fmt: skip


class Export(Section):
    """`[export]`: the Hugging Face folder, and further formats."""

    checkpoint: Checkpoint | None = Field(
        None,
        pattern=CHECKPOINT,
        description="`best`, `last` or a step; by default the evaluated one.",
    )
    formats: tuple[FormatName, ...] = Field(
        (),
        strict=False,
        description="Other formats, each with an extra of the same name; see docs/export.md.",
    )
    do_sample: bool = Field(True, description="Default for generation.")
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        50, description="Default for generation."
    )
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.95, description="Default for generation."
    )


class Release(Section):
    """`[release]`: what the model card says besides measurements."""

    title: str = Field("Japanese GPT-2", min_length=1, description="Heading of the model card.")
    licence: str | None = Field(
        None,
        min_length=1,
        description="Licence of the model; by default what the licences of its sources "
        "require (Wikipedia's text is under CC BY-SA 3.0, since 7 June 2023 under 4.0).",
    )
    revision: str | None = Field(
        None,
        pattern=r"^[0-9]{8}\.[0-9]{1,9}\.[0-9]{1,9}$",
        description="DUMPDATE.MAJOR.MINOR, such as `20210820.1.0`; by default from the date of a "
        "source.",
    )
    notes: str = Field("", description="What changed in this revision, for the changelog.")
    prompts: tuple[str, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="Texts that are continued for the card, the report and the widget. If not "
        f"given, `{WIKIPEDIA_PROMPT}` for a Wikipedia, and the beginnings of two test documents "
        "for another corpus.",
    )

    @field_validator("prompts")
    @classmethod
    def _not_blank(cls, prompts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if prompts and not all(map(str.strip, prompts)):
            raise PydanticCustomError("blank", "expected texts that are not empty")
        return prompts

    @property
    def known_prompts(self) -> tuple[str, ...]:
        """The prompts, Wikipedia's where they are left to a corpus that is not looked at."""
        return self.prompts or (WIKIPEDIA_PROMPT,)


class Range(Section):
    """Values that a search may try: a range (log-uniform) or a choice."""

    low: float | None = Field(None, description="The range's lower end, above 0.")
    high: float | None = Field(None, description="The range's upper end.")
    choice: tuple[int | float, ...] = Field(
        (), strict=False, description="Numbers to choose from, instead of a range."
    )

    def values(self, kind: type[int] | type[float]) -> tuple[int | float, ...] | None:
        """The numbers that bound it, in the type of the key; None if it is not a range or a
        choice.
        """
        given: tuple[int | float, ...] = self.choice
        if self.low is not None and self.high is not None and not given:
            given = (self.low, self.high) if 0 < self.low < self.high else ()
        elif self.low is not None or self.high is not None:
            return None
        return tuple(kind(n) if kind(n) == n else n for n in given) or None


class Search(Section):
    """`[search]`: what `jagpt train --trials` searches over; it changes no result of a stage."""

    keys: dict[str, Range] = Field(
        {},
        description="Numbers of [train] and [model] by their names, as "
        '`"train.learning_rate" = { low = 1e-4, high = 1e-2 }` or '
        '`"model.dropout" = { choice = [0.0, 0.1] }`.',
    )


class Baseline(Section):
    """`[baseline]`: a published figure that the report puts beside the run's."""

    name: str = Field("", description="Whose figure it is.")
    test_perplexity: Annotated[float, Field(ge=1.0)] | None = Field(
        None, description="Perplexity per token on the test split."
    )
    valid_loss: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="Loss on the valid split, where no test perplexity is known."
    )
    holds: dict[str, str | int | float | bool] = Field(
        {},
        description="What a run's recipe must say for its figure to be of the same thing, as "
        '`"tokenizer.from" = "colorfulscoop/gpt2-small-ja"`.',
    )


class Execution(Section):
    """`[execution]`: how the work is done; nothing here changes a result's fingerprint."""

    workers: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        None, description="Number of processes; by default the number of cores."
    )
    executor: Literal["local", "ray"] = Field(
        "local", description="`ray`: the jobs of corpus and tokens run on a Ray cluster."
    )
    ray_address: str | None = Field(
        None,
        description="Address of the Ray cluster, or `auto`; by default a cluster on this machine.",
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="PyTorch threads; by default PyTorch's own choice."
    )
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = Field(
        "auto",
        description="Device for training; `cuda` includes AMD's ROCm, `mps` is Apple's GPU, `xpu` "
        "Intel's.",
    )
    activation_checkpointing: bool = Field(
        False,
        description="Recompute each block in the backward pass: less memory, a third more work, "
        "the same "
        "results.",
    )
    max_hours: Annotated[float, Field(gt=0.0, le=1e6)] | None = Field(
        None, description="Training checkpoints and exits before this many hours have passed."
    )
    log_every: Positive = Field(10, description="Steps between logged metrics.")
    tensorboard: bool = Field(True, description="Also write TensorBoard files.")
    trackers: tuple[Literal["wandb", "trackio"], ...] = Field(
        (),
        strict=False,
        description="Also send metrics there; each needs the extra of the same name.",
    )
    tracker_project: str = Field(
        "jagpt", pattern=r"^[^/\\#?%:]{1,128}$", description="Project name in the trackers."
    )
    sample_prompts: tuple[str, ...] | None = Field(
        None,
        strict=False,
        description="Prompts continued at each validation into `logs/samples.jsonl`; by "
        "default those of `[release]`, none if empty.",
    )
    sample_tokens: Positive = Field(64, description="New tokens per continuation.")
    distributed: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="How several processes hold the model: each all of it (`ddp`), or each "
        "a shard (`fsdp`, FSDP2).",
    )
    remote: RemotePlace | None = Field(
        None,
        description="Finished stages and checkpoints are copied there during the run, and an empty "
        "machine restores them from there: `s3://bucket/prefix`, `gs://…`, `az://…`, "
        "`file:///…`, an absolute path. Credentials come only from the environment.",
    )
    mirror: Mirror | None = Field(
        None,
        description="Base URL for dump downloads; by default dumps.wikimedia.org.",
    )


class Recipe(Section):
    """A whole recipe."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Name of the run and, by default, of its directory in `runs/`.",
    )
    description: str = Field("", description="One sentence, shown by `jagpt recipes`.")
    corpus: Corpus = Field(default_factory=Corpus)
    tokenizer: Tokenizer = Field(default_factory=Tokenizer)
    tokens: Tokens = Field(default_factory=Tokens)
    model: Model = Field(default_factory=Model)
    train: Train = Field(default_factory=Train)
    evaluate: Evaluate = Field(default_factory=Evaluate)
    export: Export = Field(default_factory=Export)
    release: Release = Field(default_factory=Release)
    search: Search = Field(default_factory=Search)
    baseline: Baseline = Field(default_factory=Baseline)
    execution: Execution = Field(default_factory=Execution)

    @property
    def block_size(self) -> int:
        """Tokens per training sequence."""
        return self.train.block_size or self.model.n_positions

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimizer step, over all micro-batches."""
        return self.train.sequences * self.block_size

    @property
    def export_checkpoint(self) -> str:
        """The checkpoint to export: the evaluated one, unless the recipe says otherwise."""
        return self.export.checkpoint or self.evaluate.checkpoint

    def with_precision(self, precision: str) -> Recipe:
        """The same recipe, trained in `precision`."""
        train = self.train.model_copy(update={"precision": precision})
        return self.model_copy(update={"train": train})

    def with_prompts(self, prompts: tuple[str, ...]) -> Recipe:
        """The same recipe with other prompts."""
        release = self.release.model_copy(update={"prompts": prompts})
        return self.model_copy(update={"release": release})

    def to_toml(self) -> str:
        """The recipe as TOML that loads to an equal recipe."""
        value = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if not self.search.keys:
            del value["search"]
        if self.baseline == Baseline():
            del value["baseline"]
        return tomli_w.dumps(value)


SECTIONS: dict[str, type[Section]] = {
    "corpus": Corpus,
    "tokenizer": Tokenizer,
    "tokens": Tokens,
    "model": Model,
    "train": Train,
    "evaluate": Evaluate,
    "export": Export,
    "release": Release,
    "search": Search,
    "baseline": Baseline,
    "execution": Execution,
}
