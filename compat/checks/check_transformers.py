"""A folder in an older transformers: its weights, and its tokenizer, slow and fast."""

import common
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, _ = common.places()
pickled = (folder / "pytorch_model.bin").is_file()
model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
if any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
    raise SystemExit(f"{folder}: {info}")
model.eval()


def logits(ids):
    with torch.inference_mode():
        return model(torch.from_numpy(ids)).logits.numpy()


def greedy(ids, count):
    prompt = torch.from_numpy(ids)
    with torch.inference_mode():
        found = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count,
            min_new_tokens=count, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
    return found[0, prompt.shape[1] :].numpy()


version = ".".join(transformers.__version__.split(".")[:2])
kind = "pytorch_model.bin" if pickled else "safetensors"
name = f"transformers {version}, {kind}"
common.model(name, logits, greedy)
# 4.41's fast tokenizers cannot be told to split special tokens
for fast in (True, False) if version != "4.41" else ():
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=fast)
    common.tokenizer(
        f"transformers {version}, {type(tokenizer).__name__}",
        lambda text: tokenizer.encode(  # noqa: B023
            text, add_special_tokens=False, split_special_tokens=True
        ),
    )
