"""tf_model.h5 in `TFGPT2LMHeadModel`; the folder has no other weights."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import common
import tensorflow as tf
from transformers import AutoTokenizer, TFAutoModelForCausalLM

folder, _ = common.places()
model, info = TFAutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
if any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
    raise SystemExit(f"{folder}: {info}")


def logits(ids):
    return model(tf.constant(ids), training=False).logits.numpy()


def greedy(ids, count):
    found = model.generate(
        tf.constant(ids), attention_mask=tf.ones_like(ids), do_sample=False, max_new_tokens=count,
        min_new_tokens=count, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return found.numpy()[0, ids.shape[1] :]


name = f"TensorFlow ({type(model).__name__})"
common.model(name, logits, greedy)
tokenizer = AutoTokenizer.from_pretrained(folder)
common.tokenizer(
    name,
    lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True),
)
