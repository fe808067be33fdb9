from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import fakes
import pytest
import torch
from transformers import GPT2LMHeadModel

from jagpt.errors import DataError, UsageError
from jagpt.evaluation.checkpoint import measure_checkpoint
from jagpt.evaluation.result import Evaluation
from jagpt.evaluation.stage import EVALUATE
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return fakes.run_directory(tmp_path_factory.mktemp("run"))


def measured(run: RunDirectory, *overrides: str) -> Evaluation:
    quick = ("evaluate.memorization_samples=0", *overrides)
    EVALUATE.run(fakes.recipe(fakes.RECIPE, *quick), run, QUIET)
    return Evaluation.read(run.evaluation)


def reference_nats(folder: Path, block_size: int) -> tuple[float, int]:
    """Nats by transformers' own loss, window by window, as the original's `test.py` cut them."""
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    stream = [token for text in fakes.TEXTS for token in fakes.encode(text)]
    total, count = 0.0, 0
    for start in range(0, len(stream) - 1, block_size):
        window = torch.tensor([stream[start : start + block_size + 1]])
        with torch.no_grad():
            logits = model(window[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum")
        total, count = total + float(loss), count + window.shape[1] - 1
    return total, count


def document_nats(folder: Path, block_size: int) -> float:
    """The same with each window cut behind every end token."""
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    stream = [token for text in fakes.TEXTS for token in fakes.encode(text)]
    ends = {place + 1 for place, token in enumerate(stream) if token == fakes.END}
    cuts = sorted({0, len(stream) - 1, *ends, *range(0, len(stream), block_size)})
    total = 0.0
    for start, stop in itertools.pairwise(cut for cut in cuts if cut < len(stream)):
        piece = torch.tensor([stream[start : stop + 1]])
        with torch.no_grad():
            logits = model(piece[:, :-1]).logits
        total += float(torch.nn.functional.cross_entropy(logits[0], piece[0, 1:], reduction="sum"))
    return total


def test_sums_the_nats_of_all_tokens_in_windows_without_overlap(run: RunDirectory) -> None:
    found = measured(run)
    nats, tokens = reference_nats(run.checkpoints / "step-00000010", 16)
    assert found.tokens == tokens == len("".join(fakes.TEXTS)) + 2 - 1
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.loss == found.nats / tokens
    assert found.perplexity == math.exp(found.loss)


def test_bits_are_per_character_and_byte_of_the_text_with_the_first_token_paid(
    run: RunDirectory,
) -> None:
    found = measured(run)
    text = "".join(fakes.TEXTS)
    bits = (found.nats + math.log(fakes.VOCAB_SIZE)) / math.log(2)
    assert found.characters == len(text)
    assert found.bytes == len(text.encode())
    assert found.bits_per_character == pytest.approx(bits / len(text), rel=1e-12)
    assert found.bits_per_byte == pytest.approx(bits / len(text.encode()), rel=1e-12)


def test_precision_of_training_changes_nothing(run: RunDirectory) -> None:
    assert measured(run, 'train.precision="fp32"') == measured(run, 'train.precision="bf16"')


def test_a_masked_training_is_measured_document_by_document(run: RunDirectory) -> None:
    found = measured(run, "train.document_mask=true")
    nats = document_nats(run.checkpoints / "step-00000010", 16)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.nats != pytest.approx(measured(run).nats, rel=1e-5)


@pytest.mark.parametrize(("wanted", "step"), [("best", 10), ("last", 20), ("20", 20)])
def test_measures_the_checkpoint_that_the_recipe_names(
    run: RunDirectory, wanted: str, step: int
) -> None:
    found = measured(run, f'evaluate.checkpoint="{wanted}"')
    assert (found.checkpoint, found.step) == (f"step-000000{step}", step)


def test_names_the_split_and_its_documents(run: RunDirectory) -> None:
    found = measured(run, 'evaluate.split="valid"')
    assert (found.split, found.documents) == ("valid", 2)


def test_lists_the_kept_checkpoints_where_the_wanted_one_is_gone(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="step-00000010, step-00000020"):
        measured(run, 'evaluate.checkpoint="15"')


def test_refuses_a_split_without_a_second_token(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path)
    fakes.write_tokens(run.own("tokens"), ("",))
    with pytest.raises(DataError, match="the test split has 1 token,"):
        measured(run)


def test_refuses_tokens_of_another_vocabulary(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path)
    path = run.own("tokens") / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 99}))
    with pytest.raises(DataError, match="vocabulary of 99, but"):
        measured(run)


def test_refuses_another_models_tokens_and_windows(run: RunDirectory, tmp_path: Path) -> None:
    recipe = fakes.recipe(fakes.RECIPE, "evaluate.memorization_samples=0")
    folder = fakes.model_folder(tmp_path / "model")
    own = run.checkpoints / "step-00000010"
    assert measure_checkpoint(recipe, run, QUIET, folder).nats == measured(run).nats
    fakes.write_tokenizer(folder, fakes.CHARACTERS[::-1])
    with pytest.raises(DataError, match=r"model: 3\d pieces of its tokenizer have a different id"):
        measure_checkpoint(recipe, run, QUIET, folder)
    wide = fakes.recipe(fakes.RECIPE, "train.block_size=64", "model.n_positions=64")
    with pytest.raises(DataError, match=r"a context of 48 .* windows of 64"):
        measure_checkpoint(wide, run, QUIET, own)


def test_an_interval_over_documents_stands_beside(run: RunDirectory) -> None:
    found = measured(run)
    for key in ("loss", "perplexity", "bits_per_character", "bits_per_byte"):
        low, high = getattr(found.interval, key)
        assert low <= getattr(found, key) <= high


def test_sliding_windows_give_each_token_more_context(run: RunDirectory) -> None:
    blocks, sliding = measured(run), measured(run, "evaluate.windows=sliding", "evaluate.stride=4")
    assert (blocks.windows, sliding.windows) == ("blocks", "sliding")
    assert sliding.tokens == blocks.tokens
    assert sliding.nats != blocks.nats


def test_another_checkpoint_is_measured_without_a_trace(run: RunDirectory) -> None:
    before = measured(run)
    recipe = fakes.recipe(fakes.RECIPE, "evaluate.memorization_samples=0")
    folder = run.checkpoints / "step-00000020"
    found = measure_checkpoint(recipe, run, QUIET, folder)
    assert found.nats == measured(run, "evaluate.checkpoint=20").nats != before.nats


def test_the_export_takes_the_evaluated_checkpoint_unless_told(run: RunDirectory) -> None:
    assert fakes.recipe(fakes.RECIPE, "evaluate.checkpoint=last").export_checkpoint == "last"
    other = fakes.recipe(fakes.RECIPE, "evaluate.checkpoint=last", "export.checkpoint=best")
    assert other.export_checkpoint == "best"


def test_what_it_wrote_is_looked_up_in_the_training_text(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path)
    found = measured(run, "evaluate.memorization_samples=3").memorization
    assert (found.samples, found.span_characters, found.found) == (3, 50, 0)


def test_documents_are_kept_apart_where_training_kept_them_apart(run: RunDirectory) -> None:
    masked = measured(run, "train.document_mask=true")
    assert masked.tokens == measured(run).tokens
    assert masked.nats != measured(run).nats
