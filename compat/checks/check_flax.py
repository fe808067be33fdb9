"""flax_model.msgpack in `FlaxGPT2LMHeadModel`; the folder has no other weights."""

import common
import jax.numpy as jnp
import numpy as np
from transformers import AutoTokenizer, FlaxAutoModelForCausalLM

folder, _ = common.places()
model = FlaxAutoModelForCausalLM.from_pretrained(folder)


def logits(ids):
    return np.asarray(model(jnp.asarray(ids)).logits)


def greedy(ids, count):
    found = model.generate(
        jnp.asarray(ids), do_sample=False, max_new_tokens=count, pad_token_id=0,
        eos_token_id=model.config.vocab_size,  # an id that never comes: the text goes on
    )  # fmt: skip
    return np.asarray(found.sequences)[0, ids.shape[1] :]


name = f"Flax ({type(model).__name__})"
common.model(name, logits, greedy)
tokenizer = AutoTokenizer.from_pretrained(folder)
common.tokenizer(
    name,
    lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True),
)
