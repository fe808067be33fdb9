"""From a recipe's `[model]` to a transformers model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.activations import NewGELUActivation

from jagpt import recipe
from jagpt.errors import UsageError, did_you_mean
from jagpt.text import one_line

_FUSED_GELU = partial(nn.GELU, approximate="tanh")
_DROPOUTS = (
    "embd_pdrop", "attn_pdrop", "resid_pdrop",  # GPT-2, GPT-J, Phi
    "embed_dropout", "attention_dropout", "resid_dropout",  # GPT-Neo, Llama and its kin
    "hidden_dropout", "dropout", "activation_dropout",  # GPT-NeoX, OPT, XGLM
    "hidden_dropout_prob", "attention_probs_dropout_prob",  # BioGPT
    "embedding_dropout", "residual_dropout", "emb_pdrop", "dropout_p",  # StarCoder 2, Seed-OSS
)  # fmt: skip


class NoShapeError(UsageError):
    """transformers cannot build a network of this shape, or it does not run."""


@dataclass(frozen=True)
class SpecialIds:
    """Token ids that the model's configuration names; None if the tokenizer has none."""

    bos: int | None
    eos: int | None
    pad: int | None


_PARTS_OF_A_BLOCK = {"attn_config", "ffn_config"}
"""Nested configurations that do not describe a separate network."""
SPECIAL = SpecialIds(bos=2, eos=3, pad=0)
"""Those of jagpt's own tokenizers, for when only a shape is needed."""


def network(
    shape: recipe.Model, vocab_size: int, special: SpecialIds, seed: int
) -> PreTrainedModel:
    """A new model whose weights depend only on shape, vocabulary and seed.

    Initialised as its class does; GPT-2 as in its paper: N(0, 0.02), residual projections over
    √(2 · n_layer). `UsageError` if transformers does not know the type or refuses the shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = configuration(shape, vocab_size, special)
        made = prepared(_from_config(config))
        check_dropout(made, shape)
        return checked(made)


def configuration(shape: recipe.Model, vocab_size: int, special: SpecialIds) -> PreTrainedConfig:
    """The transformers configuration of a recipe's shape; `UsageError` if it has none."""
    factory = config_class(shape.type)
    check_keys(shape, factory)
    known = factory().to_dict()
    values = {
        "vocab_size": vocab_size,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
        **_shape_values(shape, factory, known),
        **dropout_values(shape, known),
        **shape.config,
    }
    try:
        made: PreTrainedConfig = factory(**values)
    except Exception as error:  # a class may raise anything for an invalid value
        raise NoShapeError(f"[model] gives no {factory.__name__}: {_said(error)}") from None
    return made


def _said(error: Exception) -> str:
    return one_line(str(error) or type(error).__name__)


def check_keys(shape: recipe.Model, factory: Any) -> None:
    """`UsageError` for a key of `[model.config]` that the class does not have as part of its shape.

    What all classes have (types, labels, what a call returns) is not part of a shape.
    """
    try:
        known = {*factory().to_dict()} - {*PreTrainedConfig().to_dict()}
    except Exception as error:
        raise NoShapeError(f"model.type: {shape.type} has no default: {_said(error)}") from None
    if parts := sorted({*getattr(factory, "sub_configs", {})} - _PARTS_OF_A_BLOCK):
        text = f"{shape.type}_text"
        raise UsageError(
            f"model.type: {shape.type} consists of several networks ({', '.join(parts)}), but "
            "[model] is the shape of one: choose "
            + (text if text in CONFIG_MAPPING else "another type")
        )
    for name in shape.config:
        if name not in known:
            raise UsageError(
                f"model.config.{name}: transformers' {factory.__name__} has no such key"
                f"{did_you_mean(name, known)}, or it is not part of a network's shape"
            )


def _shape_values(shape: recipe.Model, factory: Any, known: dict[str, Any]) -> dict[str, Any]:
    """Layers, heads and widths under the names used by a type's configuration."""
    common = {
        "num_hidden_layers": shape.n_layer,
        "num_attention_heads": shape.n_head,
        "hidden_size": shape.n_embd,
        "max_position_embeddings": shape.n_positions,
    }
    names = factory.attribute_map
    values: dict[str, Any] = {names.get(name, name): value for name, value in common.items()}
    derived = {
        "num_key_value_heads": shape.n_head,
        "head_dim": shape.n_embd // shape.n_head,
        "intermediate_size": 4 * shape.n_embd,
        "ffn_dim": 4 * shape.n_embd,
    }
    if (known.get("rotary_dim") or 0) > derived["head_dim"]:
        derived["rotary_dim"] = derived["head_dim"]
    if "qk_rope_head_dim" in known:  # there it is only the width of the rotated part
        del derived["head_dim"]
    values |= {name: value for name, value in derived.items() if name in known}
    if shape.type == "gpt_neo":  # the sister of the original: every other block sees a window
        pairs, single = divmod(shape.n_layer, 2)
        kinds: list[Any] = [[["global", "local"], pairs]] if pairs else []
        values["attention_types"] = kinds + ([[["global"], 1]] if single else [])
    return values


def dropout_values(shape: recipe.Model, known: dict[str, Any]) -> dict[str, float]:
    """The recipe's dropout under every name that a configuration has for it."""
    return {name: shape.dropout for name in _DROPOUTS if name in known}


def check_dropout(network: PreTrainedModel, shape: recipe.Model) -> None:
    """`UsageError` if `dropout` does not reach every dropout of a network, or it has none.

    Those set in `[model.config]` are left alone.
    """
    said = {value for key, value in shape.config.items() if "drop" in key}
    found = {place: rate for place, rate in _dropouts(network) if rate not in said}
    odd = sorted(f"{place} is {rate:g}" for place, rate in found.items() if rate != shape.dropout)
    if odd or (shape.dropout and not found and not said):
        what = f"does not reach all of {shape.type} ({odd[0]})" if odd else f"{shape.type} has none"
        raise UsageError(
            f"model.dropout: found {shape.dropout:g}, but {what}: choose another type"
            + (", or --set model.dropout=0.0" if shape.dropout else "")
        )


def _dropouts(network: PreTrainedModel) -> Iterator[tuple[str, float]]:
    """Each place where a network drops elements, by its name in its module, and how many.

    LayerDrop drops whole layers and does not count.
    """
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            yield "an nn.Dropout", module.p
        for name, value in vars(module).items():
            if "drop" in name and name != "layerdrop" and type(value) in (int, float):
                yield name, float(value)


def config_class(kind: str) -> Any:
    if kind not in CONFIG_MAPPING or CONFIG_MAPPING[kind] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UsageError(
            f"model.type: transformers has no causal language model {kind!r}"
            f"{did_you_mean(kind, CONFIG_MAPPING.keys())}; examples are gpt2, gpt_neo, llama"
        )
    return CONFIG_MAPPING[kind]


def on_meta(shape: recipe.Model, vocab_size: int) -> PreTrainedModel:
    """The network of a shape, without memory for its weights."""
    with torch.device("meta"):
        return _from_config(configuration(shape, vocab_size, SPECIAL))


def _from_config(config: PreTrainedConfig) -> PreTrainedModel:
    factory: Any = AutoModelForCausalLM
    try:
        made: PreTrainedModel = factory.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise NoShapeError(
            f"[model] is not a valid shape for {config.model_type}: {_said(error)}"
        ) from None
    return made


def prepared(
    model: PreTrainedModel, gelu: Callable[[], nn.Module] = _FUSED_GELU
) -> PreTrainedModel:
    """The same function with a `gelu` module, where transformers writes `gelu_new` as eight
    operations.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, gelu())
    return model


def checked(model: PreTrainedModel) -> PreTrainedModel:
    """The model, if its logits are just the output head's product.

    The chunked loss relies on this; `UsageError` for a class that scales or caps its logits, whose
    head has a bias, or that sees the tokens which it should predict.
    """
    count = min(4, int(model.config.vocab_size))
    ids = torch.arange(count)[None].repeat(2, 1)
    ids[1, -1] = 0
    was_training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            embeddings = model.get_input_embeddings()(ids)
            hidden = model.base_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
            product = hidden @ model.get_output_embeddings().weight.T
            scale = 1000 / product.abs().max().item()  # large enough to hit a cap
            logits = _scaled_logits(model, ids, scale) / scale
    except Exception as error:
        raise NoShapeError(
            f"[model] is not a valid shape for {model.config.model_type}: {_said(error)}"
        ) from None
    model.train(was_training)
    if not torch.allclose(logits, product, rtol=1e-3, atol=1e-4):
        raise UsageError(
            f"model.type: {model.config.model_type} changes its logits after the output head "
            "(a bias, a scale or a cap), which jagpt's loss does not support; choose another type"
        )
    if not torch.allclose(logits[0, :-1], logits[1, :-1], rtol=1e-3, atol=1e-4):
        raise UsageError(
            f"[model] as {model.config.model_type} sees the tokens that it should predict: its "
            "attention is not causal; choose another type or change [model.config]"
        )
    return model


def _scaled_logits(model: PreTrainedModel, ids: torch.Tensor, scale: float) -> torch.Tensor:
    """What the model makes of its output head's product times `scale`."""
    hook = model.get_output_embeddings().register_forward_hook(lambda *given: given[2] * scale)
    try:
        mask = torch.ones_like(ids)  # without it, transformers warns of padding
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    finally:
        hook.remove()
    return logits
