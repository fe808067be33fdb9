"""The folder in TRL's SFTTrainer, with chat templates and tokens of one's own, and in batches."""

import sys
import tempfile
from pathlib import Path

import common
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "京都は日本の都市である。",
    "富士山は火山である。\n高さは3776メートルである。",
    "</s>は記号である。",
]
CHAT = [
    {"role": "user", "content": "日本で一番高い山は？"},
    {"role": "assistant", "content": "富士山です。"},
]
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
ROLES = ["<|user|>", "<|assistant|>"]
PROMPTS = ["京都", "日本の歴史は、", "1990年", "富士山は日本で一番高い山であり、"]


def trained(folder, rows, output):
    """The ids that SFTTrainer makes of the rows; it takes a step on them and saves the model."""
    settings = trl.SFTConfig(
        output_dir=str(output), max_steps=1, per_device_train_batch_size=2, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    trainer.save_model(output)
    return [row["input_ids"] for row in trainer.train_dataset]


def require(holds, what):
    if not holds:
        sys.exit(what)


def every_sample_ends(folder, place):
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    ids = trained(folder, [{"text": text} for text in TEXTS], place)
    require(all(row[-1] == end for row in ids), f"a sample does not end with {end}: {ids}")
    again = AutoTokenizer.from_pretrained(place)
    require(again("</s>")["input_ids"] == [end], "saved and loaded, </s> is no longer the end")


def a_chat_survives(folder, place):
    """A template and its tokens: added, saved, loaded, trained on, saved and loaded."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ROLES})
    tokenizer.chat_template = TEMPLATE
    network.resize_token_embeddings(len(tokenizer))
    wanted = tokenizer.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    user, assistant = tokenizer.convert_tokens_to_ids(ROLES)
    require(wanted[0] == user and assistant in wanted, f"the roles are no tokens: {wanted}")
    require(wanted[-1] == tokenizer.eos_token_id, f"the chat does not end: {wanted}")
    start = place / "start"
    tokenizer.save_pretrained(start)
    network.save_pretrained(start)
    ids = trained(start, [{"messages": CHAT}] * 2, place / "tuned")
    for row in ids:
        require(row == wanted, f"SFTTrainer makes {row} of the chat, not {wanted}")
    for saved in (start, place / "tuned"):
        found = AutoTokenizer.from_pretrained(saved).apply_chat_template(CHAT, return_dict=True)
        require(found["input_ids"] == wanted, f"{saved}: the chat has other ids")


def a_batch_changes_no_text(folder):
    """`tokenizer(prompts, padding=True)` and `generate`, nothing more."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    how = {"do_sample": False, "max_new_tokens": 24}
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    together = tokenizer.batch_decode(network.generate(**inputs, **how), skip_special_tokens=True)
    for prompt, found in zip(PROMPTS, together, strict=True):
        alone = network.generate(**tokenizer(prompt, return_tensors="pt"), **how)
        wanted = tokenizer.decode(alone[0], skip_special_tokens=True)
        require(
            found == wanted,
            f"{prompt!r} continues as {found!r} in a batch, but alone as {wanted!r}",
        )


folder, _ = common.places()
version = ".".join(trl.__version__.split(".")[:2])
with tempfile.TemporaryDirectory() as place:
    every_sample_ends(folder, Path(place) / "texts")
    common.passed(f"TRL {version}: every sample ends with the end token")
    a_chat_survives(folder, Path(place))
    common.passed(f"TRL {version}: a chat template and its tokens, saved and loaded")
a_batch_changes_no_text(folder)
common.passed("transformers: a batch of prompts, each as alone")
