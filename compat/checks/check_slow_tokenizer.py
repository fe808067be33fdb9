"""A tokenizer of the original's settings, which loads as `BertGenerationTokenizer`."""

import common
import transformers
from transformers import AutoTokenizer

folder, _ = common.places()
version = ".".join(transformers.__version__.split(".")[:2])
tokenizer = AutoTokenizer.from_pretrained(folder)
common.tokenizer(
    f"transformers {version}, {type(tokenizer).__name__}",
    lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True),
)
