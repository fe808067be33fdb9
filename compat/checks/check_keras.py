"""The Hugging Face folder in `keras_hub.models.GPT2CausalLM`."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import common
import keras_hub
import numpy as np

folder, _ = common.places()
model = keras_hub.models.GPT2CausalLM.from_preset(str(folder), preprocessor=None)


def logits(ids):
    return np.asarray(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))


def greedy(ids, count):
    length = ids.shape[1]
    padded = np.zeros((1, length + count), dtype=ids.dtype)
    padded[:, :length] = ids
    mask = np.zeros_like(padded)
    mask[:, :length] = 1
    found = model.generate({"token_ids": padded, "padding_mask": mask}, stop_token_ids=None)
    return np.asarray(found["token_ids"])[0, length:]


model.compile(sampler="greedy")
common.model("Keras (keras_hub)", logits, greedy)
