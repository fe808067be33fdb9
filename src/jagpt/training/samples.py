"""Continuations of fixed prompts at each validation: what the losses look like as text.

Sampled with the original's settings (top-k 50, top-p 0.95) from their own seed; training's random
numbers are not affected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from jagpt.models.quiet import quiet
from jagpt.models.tokenizer import token_ids
from jagpt.training.parallel import Learner

TOP_K, TOP_P = 50, 0.95


@dataclass(frozen=True)
class Continuer:
    """Continues `prompts` by up to `new_tokens` tokens."""

    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[str]
    new_tokens: int
    seed: int

    def samples(self, learner: Learner, precision: str) -> list[tuple[str, str]]:
        """Each prompt and its continuation; under FSDP2 all ranks must ask."""
        deterministic = torch.are_deterministic_algorithms_enabled()
        devices = [learner.device] if learner.device.type == "cuda" else []
        torch.use_deterministic_algorithms(False)  # cumulative sums on a GPU are not reproducible
        try:
            with quiet(), torch.random.fork_rng(devices), learner.evaluating(precision):
                return [(prompt, self._text(learner, prompt)) for prompt in self.prompts]
        finally:
            torch.use_deterministic_algorithms(deterministic)

    def _text(self, learner: Learner, prompt: str) -> str:
        tokenizer: Any = self.tokenizer
        config = learner.network.config
        context = int(getattr(config, "max_position_embeddings", None) or config.n_positions)
        new = min(self.new_tokens, max(1, context // 2))
        ids = token_ids(tokenizer, [prompt])[0][-(context - new) :]
        ids = ids or [tokenizer.eos_token_id or 0]
        torch.manual_seed(self.seed)
        given = torch.tensor([ids], device=learner.device)  # (1, T)
        output = learner.generate(
            given,
            attention_mask=torch.ones_like(given),
            generation_config=self._config(new, int(config.vocab_size)),
        )
        text: str = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
        return text

    def _config(self, new_tokens: int, vocab_size: int) -> Any:
        tokenizer: Any = self.tokenizer
        spare = list(range(len(tokenizer), vocab_size))  # rows without a piece cannot be shown
        make: Any = GenerationConfig
        return make(
            do_sample=True,
            top_k=TOP_K,
            top_p=TOP_P,
            max_new_tokens=new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
            suppress_tokens=spare or None,
        )
