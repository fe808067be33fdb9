"""How to sample: what the caller asks for, what the folder says, and what results from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jagpt.errors import DataError, UsageError
from jagpt.runtimes import Drawing

if TYPE_CHECKING:
    from jagpt.models import ModelFolder

DEFAULT_MAX_NEW_TOKENS = 128
"""New tokens if neither the caller nor the folder says how many."""
DEFAULT_TOP_K = 50
"""What transformers uses if a folder that samples does not say."""

SAMPLING_KNOBS = ("temperature", "top_k", "top_p")
MAX_SEED = 2**63 - 1
MAX_SEQUENCES = 1000
LEAST, MOST = 1e-6, 1e6
"""Bounds for what scores are divided by: beyond them, fp32 shows no difference or overflows."""
MAX_NEW_TOKENS = 1_000_000
"""The largest default that a folder may set."""

OTHER_STRATEGIES = {
    "num_beams": 1,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "penalty_alpha": None,
    "guidance_scale": None,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "force_words_ids": None,
    "constraints": None,
    "dola_layers": None,
    "token_healing": False,
    "max_time": None,
    "min_length": 0,
    "min_new_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "begin_suppress_tokens": None,
    "stop_strings": None,
    "watermarking_config": None,
}
"""Keys of `generation_config.json` that change texts and are not followed here, with their neutral
values.
"""


@dataclass(frozen=True)
class Settings:
    """What the caller asks for; None leaves the choice to the folder's `generation_config.json`.

    `top_k` 0, `top_p` 1 and `repetition_penalty` 1 switch these off. `greedy` takes the likeliest
    token each time. Raises `UsageError`, naming the flag and what is allowed.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    num_return_sequences: int = 1
    seed: int = 0
    greedy: bool = False

    def __post_init__(self) -> None:
        _check_range("--max-new-tokens", self.max_new_tokens, 1, None)
        _check_range("--top-k", self.top_k, 0, None)
        _check_range("--num-return-sequences", self.num_return_sequences, 1, MAX_SEQUENCES)
        _check_range("--seed", self.seed, 0, MAX_SEED)
        if self.temperature is not None and not LEAST <= self.temperature <= MOST:
            raise UsageError(
                f"--temperature {self.temperature:g}: allowed is {LEAST:f} to {MOST:,.0f}; "
                "--greedy takes the likeliest token each time"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p {self.top_p:g}: allowed is more than 0, up to 1")
        if self.repetition_penalty is not None and not LEAST <= self.repetition_penalty <= MOST:
            raise UsageError(
                f"--repetition-penalty {self.repetition_penalty:g}: allowed is {LEAST:f} to "
                f"{MOST:,.0f}; 1 penalizes nothing"
            )
        if self.greedy:
            self._check_greedy()

    def drawing(self, defaults: Defaults, new_tokens: int) -> Drawing:
        """The settings for a prompt: the caller's where given, else the folder's."""
        drawn = not self.greedy and (
            defaults.do_sample
            or self.num_return_sequences > 1
            or any(getattr(self, name) is not None for name in SAMPLING_KNOBS)
        )

        def chosen(name: str) -> Any:
            value = getattr(self, name)
            return getattr(defaults, name) if value is None else value

        return Drawing(
            new_tokens=new_tokens,
            rows=self.num_return_sequences,
            seed=self.seed,
            temperature=chosen("temperature") if drawn else None,
            top_k=chosen("top_k") if drawn else 0,
            top_p=chosen("top_p") if drawn else 1.0,
            repetition_penalty=chosen("repetition_penalty"),
            end_ids=defaults.end_ids,
            suppressed=defaults.suppressed,
        )

    def _check_greedy(self) -> None:
        for name in SAMPLING_KNOBS:
            if getattr(self, name) is not None:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag}: --greedy draws nothing; leave out one of the two")
        if self.num_return_sequences > 1:
            raise UsageError(
                f"--num-return-sequences {self.num_return_sequences}: --greedy gives only one "
                "continuation; leave out one of the two"
            )


@dataclass(frozen=True)
class Defaults:
    """How a folder samples by default, and its tokens that end a text or are never drawn.

    `unused` names the keys that are set in `generation_config.json` and not followed here.
    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = DEFAULT_TOP_K
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    end_ids: frozenset[int] = frozenset()
    suppressed: tuple[int, ...] = ()
    unused: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: ModelFolder, vocab_size: int) -> Defaults:
        """What the folder says; `DataError` with the key for a nonsensical value.

        Rows without a piece cannot be shown, and are never drawn.
        """
        said, tokenizer = _Said.of(model), model.tokenizer
        ends = tokenizer.eos_token_id if said.eos_token_id is None else said.eos_token_id
        suppressed = said.suppress_tokens or []
        if any(not 0 <= token < vocab_size for token in suppressed):
            raise DataError(
                f"{model.folder}: suppress_tokens of its generation settings names ids that the "
                f"model does not have (0 to {vocab_size - 1:,})"
            )
        return cls(
            **said.model_dump(exclude_none=True, exclude={"eos_token_id", "suppress_tokens"}),
            end_ids=frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends]),
            suppressed=(*suppressed, *range(len(tokenizer), vocab_size)),
            unused=tuple(
                name
                for name, off in OTHER_STRATEGIES.items()
                if model.generation.get(name) not in (None, off)
            ),
        )


class _Said(BaseModel):
    """Which keys of `generation_config.json` are followed, and their bounds."""

    model_config = ConfigDict(strict=True, extra="ignore")

    max_new_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    do_sample: bool | None = None
    temperature: float | None = Field(None, ge=LEAST, le=MOST)
    top_k: int | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float | None = Field(None, ge=LEAST, le=MOST)
    eos_token_id: int | list[int] | None = None
    suppress_tokens: list[int] | None = None

    @classmethod
    def of(cls, model: ModelFolder) -> _Said:
        """What the folder says; `DataError` names the key with a nonsensical value."""
        said = dict(model.generation)
        if not said.get("do_sample") and said.get("temperature") == 0:
            del said["temperature"]  # some folders mean greedy by this
        try:
            return cls.model_validate(said)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise DataError(
                f"{model.folder}: {wrong['loc'][0]} of its generation settings: found "
                f"{wrong['input']!r:.60}; {wrong['msg']}"
            ) from None


def _check_range(flag: str, value: int | None, low: int, high: int | None) -> None:
    if value is None or (value >= low and (high is None or value <= high)):
        return
    allowed = f"{low} or more" if high is None else f"{low} to {high}"
    raise UsageError(f"{flag} {value}: allowed is {allowed}")
