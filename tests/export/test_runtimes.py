"""Each format in its own runtime, from the export to a text: the tiny model all the way."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import fakes
import folders
import gguf_fields
import pytest
from faults.test_strangers import damaged_bytes
from faults.watched import SECONDS, Tell, apart, watch

from jagpt import files, generation, manifests, models
from jagpt.cli import app
from jagpt.errors import DataError, JagptError, MissingExtraError, UsageError
from jagpt.formats import engines, gguf_header, making, table
from jagpt.formats.source import ModelSource
from jagpt.progress import QUIET
from jagpt.recipe import parse
from jagpt.release import usage
from jagpt.rundir import RunDirectory
from jagpt.runtimes import llamacpp

QUICK = (
    "flax",
    "onnx",
    "onnx-fp16",
    "onnx-int8",
    "ctranslate2",
    "ctranslate2-int8",
    "gguf-f32",
    "gguf-q8_0",
    "gguf-q5_k_m",
    "gguf-q4_k_m",
    "openvino",
)
PROMPT = "統計的推定を使うことで、"
SOURCE = 'name = "none"\nkind = "text"\npath = "none.txt"\n[train]\nmax_steps = 1\n'


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with its exports in `export/`, all within bounds."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    folders.write(folder)
    text = folder.parent / "text.txt"
    text.write_text(folders.TEXT + "京都の𠮷は髙い。\n", "utf-8")
    making.export_folder(folder, QUICK, folder / "export", QUIET, text)
    return folder


def told(folder: Path, name: str) -> dict[str, Any]:
    return files.read_json(folder / "export" / name / "parity.json")


@pytest.mark.parametrize("name", [name for name in QUICK if name != "flax"])
def test_an_export_says_how_near_it_is(exported: Path, name: str) -> None:
    found = told(exported, name)
    assert found["prompts"] >= 20
    assert found["source"] == models.open(exported).fingerprint()
    assert found["text"] == "text.txt"
    most = 0.1 if "_k_m" in name else 0.01
    assert abs(found["perplexity"] / found["perplexity_pytorch"] - 1) < most
    for file in (exported / "export" / name).iterdir():
        assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["onnx", "ctranslate2", "openvino"])
def test_full_precision_is_within_a_ten_thousandth(exported: Path, name: str) -> None:
    found = told(exported, name)
    assert found["logit_difference"] <= 1e-4
    assert found["greedy_equal"] + found["greedy_ties"] == found["prompts"]


WEIGHTS = {
    "gguf-f32": "model-f32.gguf", "onnx": "model.onnx", "openvino": "openvino_model.xml",
    "ctranslate2": "model.bin",
}  # fmt: skip
WHOLE = "export/gguf-f32/model-f32.gguf"
MUTATIONS = int(os.environ.get("JAGPT_MUTATIONS", "200"))
ENGINE_INPUTS = {"gguf-f32": MUTATIONS // 2, "gguf-f32 header": MUTATIONS}
"""Of the others a tenth: each is loaded anew and computes."""


def damaged(raw: bytes, seed: str, count: int) -> Iterator[bytes]:
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        head = rng.choice((400, 6000, len(raw)))
        yield damaged_bytes(raw[:head], rng) + raw[head:]


def tried_by_a_fork(path: Path, context: int, _working: int) -> None:
    """`llamacpp.check_loads` without the seconds that another Python takes to start."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        with suppress(BaseException):
            llamacpp.LlamaCpp(path, context, 1, 0, 1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0:
        raise DataError(f"{path}: llama.cpp crashes on this file")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by /proc")
@pytest.mark.parametrize("kind", ["gguf-f32 header", *WEIGHTS])
def test_an_engine_on_a_damaged_export_computes_or_names_it(
    exported: Path, tmp_path: Path, kind: str, tally: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = kind.partition(" ")[0]
    folder, outside = tmp_path / name, tmp_path / "outside"
    shutil.copytree(exported / "export" / name, folder)
    outside.mkdir()
    raw, count = (folder / WEIGHTS[name]).read_bytes(), ENGINE_INPUTS.get(kind, MUTATIONS // 10)
    made = gguf_fields.lies if "header" in kind else damaged
    two_tokens = generation.Settings(greedy=True, max_new_tokens=2)
    model, export = models.open(exported).read(), engines.UsableExport(table.FORMATS[name], folder)
    monkeypatch.setattr(llamacpp, "check_loads", tried_by_a_fork)
    monkeypatch.setenv("GGML_NO_BACKTRACE", "1")

    def compute(content: bytes) -> None:
        (folder / WEIGHTS[name]).write_bytes(content)
        loaded = generation.load(model, engines.engine(export, model, threads=1))
        ids = loaded.encode(PROMPT)
        loaded.sample(ids, loaded.drawing(len(ids), two_tokens))

    inputs = chain([raw], made(raw, kind, count))
    found = watch(apart(compute) if "gguf" in kind else compute, inputs, outside)
    assert found.tried == count + 1
    assert 0 < found.refused <= count, "the whole file was refused"
    tally(kind, found)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (b"tokenizer.chat_template", b"\x08\0\0\0\x01\0\0\0\0\0\0\0{", "chat_template' is '{'"),
        (b"x", b"\x09\0\0\0\x08\0\0\0" + b"\xff" * 8, "a text of|ends within"),
        (b"general.name", b"\x08\0\0\0" + b"\xff" * 8, "a text of 18,446,"),
        (b"gpt2.block_count", b"\x04\0\0\0\xff\xff\0\0", "block_count' is 65535"),
        (b"general.architecture", b"\x08\0\0\0\x03\0\0\0\0\0\0\0t5x", "architecture' is 't5x'"),
        (b"general.name", b"\x63\0\0\0", "a value of type 99"),
    ],
)
def test_a_gguf_file_may_only_say_what_its_model_is(
    exported: Path, tmp_path: Path, key: bytes, value: bytes, told: str
) -> None:
    """llama.cpp would render the template, for minutes and in gigabytes."""
    source, raw = ModelSource.open(exported), (exported / WHOLE).read_bytes()
    gguf_header.check(exported / WHOLE, source)
    count = int.from_bytes(raw[16:24], "little") + 1
    more = len(key).to_bytes(8, "little") + key + value
    (tmp_path / "x.gguf").write_bytes(raw[:16] + count.to_bytes(8, "little") + more + raw[24:])
    with pytest.raises(DataError, match=f"x.gguf: not a GGUF file that jagpt made.*({told})"):
        gguf_header.check(tmp_path / "x.gguf", source)


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        pytest.param(
            "SPARE_BYTES",
            1_000_000,
            r"cannot load this \(.*\) with 1\.92 MB of memory",
            marks=pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no limit"),
        ),
        ("SPARE_SECONDS", 0.001, "has not loaded this within"),
        ("SPARE_BYTES", 2 * 1024**3, None),
    ],
)
def test_trying_a_gguf_file_takes_limited_memory_and_time(
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
    told: str | None,
) -> None:
    monkeypatch.setattr(llamacpp, limit, value)
    path = exported / WHOLE
    with pytest.raises(DataError, match=f"{path}: .*{told}") if told else nullcontext():
        llamacpp.check_loads(path, 64, llamacpp.working_bytes(2, 2, 32, 64))


def test_a_gguf_file_that_llama_cpp_works_on_without_end_is_stopped(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renders the chat template; `gguf_header.check` would refuse that earlier."""
    template = b"{% set x = range(30000000)|list %}"
    raw, key = (exported / WHOLE).read_bytes(), b"tokenizer.chat_template"
    count = int.from_bytes(raw[16:24], "little") + 1
    more = len(key).to_bytes(8, "little") + key + b"\x08\0\0\0"
    more += len(template).to_bytes(8, "little") + template
    path = tmp_path / "x.gguf"
    path.write_bytes(raw[:16] + count.to_bytes(8, "little") + more + raw[24:])
    monkeypatch.setattr(llamacpp, "SPARE_BYTES", 300_000_000)
    monkeypatch.setattr(llamacpp, "SPARE_SECONDS", 3)
    with pytest.raises(DataError, match=r"x.gguf: llama.cpp (cannot load|crashes on|has not)"):
        llamacpp.check_loads(path, 64, 0)


def test_an_engine_with_other_tokens_is_refused(exported: Path, tmp_path: Path) -> None:
    other = models.open(fakes.model_folder(tmp_path / "other"))
    export = engines.UsableExport(table.FORMATS["onnx"], exported / "export" / "onnx")
    with pytest.raises(DataError, match=r"onnx: .* tokens"):
        engines.engine(export, other)


def test_gguf_carries_the_tokenizer_but_no_byte_fallback(exported: Path) -> None:
    found = told(exported, "gguf-f32")
    assert found["texts"] == found["texts_equal"] == 36
    assert (found["byte_texts"], found["byte_texts_equal"]) == (1, 0)


def test_every_engine_continues_greedily_as_transformers(exported: Path) -> None:
    settings = generation.Settings(greedy=True, max_new_tokens=12)
    wanted = texts(exported, "transformers", settings)
    for name in ("onnx", "openvino", "ctranslate2", "auto"):
        assert texts(exported, name, settings) == wanted


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_engines_with_logits_draw_the_texts_of_transformers(exported: Path, name: str) -> None:
    settings = generation.Settings(seed=3, num_return_sequences=2, max_new_tokens=12, top_k=20)
    assert texts(exported, name, settings) == texts(exported, "transformers", settings)


def test_llama_cpp_repeats_a_seed_and_no_row_depends_on_the_others(exported: Path) -> None:
    settings = generation.Settings(seed=3, num_return_sequences=2, max_new_tokens=20, top_k=50)
    loaded = load(exported, "gguf", settings)
    ids = loaded.encode(PROMPT)
    first, second = loaded.sample(ids, loaded.drawing(len(ids), settings))
    assert first != second
    again = load(exported, "gguf", settings)
    assert again.sample(ids, again.drawing(len(ids), settings)) == [first, second]
    alone = generation.Settings(seed=3, max_new_tokens=20, top_k=50)
    assert again.sample(ids, again.drawing(len(ids), alone)) == [first]
    assert all(token.logprob <= 0 for token in first.tokens)


def test_llama_cpp_tells_the_same_of_likely_tokens_and_of_all(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = generation.Settings(seed=3, max_new_tokens=20)
    found = []
    for likely in (llamacpp.LIKELY, 1):
        monkeypatch.setattr(llamacpp, "LIKELY", likely)
        loaded = load(exported, "gguf", settings)
        ids = loaded.encode(PROMPT)
        found += loaded.sample(ids, loaded.drawing(len(ids), settings))
    (few, every) = (continuation.tokens for continuation in found)
    assert [token.id for token in few] == [token.id for token in every]
    # other requests in between leave other rounding behind
    assert [t.logprob for t in few] == pytest.approx([t.logprob for t in every], abs=1e-4)


def test_llama_cpp_continues_alike_in_small_pieces(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = generation.Settings(greedy=True, max_new_tokens=20)
    whole = texts(exported, "gguf", settings)
    monkeypatch.setattr(llamacpp, "LARGEST_CHUNK", 4)
    assert texts(exported, "gguf", settings) == whole


def test_the_program_that_a_card_shows_for_gguf_runs(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "release"))
    shutil.copy(folder / "export" / "gguf-q8_0" / "model-q8_0.gguf", folder)
    files.write_json(folder / "generation_config.json", {"do_sample": True, "max_new_tokens": 8})
    recipe = parse('name = "card"\n[model]\nn_positions = 64\n[[corpus.source]]\n' + SOURCE)
    usage.check(recipe, [fakes.released("gguf-q8_0")], PROMPT, folder, QUIET)
    assert "was not run" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_bytes", "tokens"), [(1, 64), (117_000_000, 64), (1_600_000_000, 4), (20_000_000_000, 1)]
)
def test_a_piece_is_shorter_the_larger_the_model(n_bytes: int, tokens: int) -> None:
    assert llamacpp.chunk_for(n_bytes) == tokens


def load(folder: Path, engine: str, settings: generation.Settings) -> generation.TextGenerator:
    model = models.open(folder)
    chosen = engines.choose(model, engine, drawn=not settings.greedy)
    return generation.load(model, engines.engine(chosen, model) if chosen else None)


def texts(folder: Path, engine: str, settings: generation.Settings) -> list[str]:
    loaded = load(folder, engine, settings)
    ids = loaded.encode(PROMPT)
    return [found.text for found in loaded.sample(ids, loaded.drawing(len(ids), settings))]


# --- which engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "drawn", "rows", "name"),
    [
        ("auto", False, 1, "onnx"),
        ("auto", True, 1, "onnx"),
        ("auto", True, 16, "onnx"),
        ("fastest", True, 1, "gguf-q8_0"),
        ("fastest", False, 1, "gguf-q8_0"),
        ("fastest", True, 16, "onnx"),
        ("ctranslate2", False, 1, "ctranslate2"),
        ("gguf", True, 16, "gguf-q8_0"),
    ],
)
def test_a_wish_finds_its_export(
    exported: Path, wish: str, drawn: bool, rows: int, name: str
) -> None:
    found = engines.choose(models.open(exported), wish, drawn=drawn, rows=rows)
    assert found is not None
    assert found.format.name == name


def test_what_is_not_full_precision_is_told(exported: Path) -> None:
    model = models.open(exported)
    fastest = engines.choose(model, "fastest", drawn=True)
    assert "GGUF q8_0 computes in 8 bit" in str(engines.note(fastest, "fastest"))
    assert engines.note(engines.choose(model, "auto", drawn=True), "auto") is None
    assert engines.choose(model, "transformers", drawn=True) is None


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def an_earlier_record(folder: Path) -> None:
    """As before a record held more than the SHA-256 of the weights."""
    source = files.sha256(folder / "model.safetensors")
    for path in (folder / "export").glob("*/parity.json"):
        files.write_json(path, {**files.read_json(path), "source": source})


def other_heads(folder: Path) -> None:
    path = folder / "config.json"
    files.write_json(path, {**files.read_json(path), "n_head": 4})


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: altered(folder / "model.safetensors"),
        lambda folder: shutil.copy(folder / "model.safetensors", folder / "average.safetensors"),
        other_heads,
        an_earlier_record,
    ],
)
def test_an_export_of_another_model_does_not_count(
    exported: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    entries = manifests.entries(folder)
    manifests.Manifest("export", 3, "f" * 64, {}, {}, entries).write(folder)
    change(folder)
    model = models.open(folder)
    assert engines.find(model) == []
    assert engines.choose(model, "auto", drawn=False) is None
    assert "using transformers" in str(engines.note(None, "auto"))
    with pytest.raises(UsageError, match=r"--engine onnx: .* --format onnx` makes one"):
        engines.choose(model, "onnx", drawn=False)


def test_a_model_in_several_files_is_exported_and_found(
    source: ModelSource, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    source.network.save_pretrained(folder, max_shard_size="50KB")
    making.export_folder(folder, ["ctranslate2"], folder / "export", QUIET)
    (found,) = engines.find(models.open(folder))
    assert found.format.name == "ctranslate2"


def test_ctranslate2_does_not_draw(exported: Path) -> None:
    with pytest.raises(UsageError, match="--engine ctranslate2 only takes the likeliest token"):
        texts(exported, "ctranslate2", generation.Settings(max_new_tokens=3, top_k=5))


def test_ctranslate2_tells_the_model_s_own_probabilities(
    source: ModelSource, tmp_path: Path
) -> None:
    """Whatever the penalty is, and though rows without a piece are never drawn."""
    from jagpt.formats import ctranslate2

    ctranslate2.write(source, tmp_path, "float32")
    export = engines.UsableExport(table.FORMATS["ctranslate2"], tmp_path)
    settings = generation.Settings(greedy=True, max_new_tokens=12, repetition_penalty=1.5)
    found = []
    for engine in (None, engines.engine(export, source.model, threads=1)):
        loaded = generation.load(source.model, engine)
        ids = loaded.encode(PROMPT)
        (continuation,) = loaded.sample(ids, loaded.drawing(len(ids), settings))
        found.append(continuation.tokens)
    ours, theirs = found
    assert [token.id for token in theirs] == [token.id for token in ours]
    assert [t.logprob for t in theirs] == pytest.approx([t.logprob for t in ours], abs=1e-4)


def test_generate_takes_an_engine(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", str(exported), PROMPT, "--greedy", "--max-new-tokens", "8", "--json"]
    app.main([*arguments, "--engine", "auto"], standalone_mode=False)
    auto = capsys.readouterr()
    app.main(arguments, standalone_mode=False)
    assert json.loads(auto.out) == json.loads(capsys.readouterr().out)
    assert auto.err == ""
    app.main([*arguments, "--engine", "fastest"], standalone_mode=False)
    assert "note: --engine fastest: GGUF q8_0 computes in 8 bit" in capsys.readouterr().err


# --- what is refused ------------------------------------------------------------------------------


def spoiled(write: Callable[..., None]) -> Callable[..., None]:
    """A writer that gets weights which are not the model's."""

    def wrong(source: ModelSource, folder: Path, **options: str) -> None:
        other = ModelSource(source.model)
        changed = {name: array.copy() for name, array in source.tensors.items()}
        changed["transformer.h.0.mlp.c_fc.bias"][:] += 0.05
        other.__dict__["tensors"] = changed
        write(other, folder, **options)

    return wrong


def test_an_export_out_of_bounds_leaves_nothing(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jagpt.formats import ctranslate2

    monkeypatch.setattr(ctranslate2, "write", spoiled(ctranslate2.write))
    with pytest.raises(JagptError, match=r"ctranslate2: not the same model .* nothing was kept"):
        making.export_folder(
            exported, ["ctranslate2"], tmp_path, QUIET, exported.parent / "text.txt"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_says_how_to_install_it(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "find_spec", lambda name: None if name == "xllamacpp" else True)
    with pytest.raises(MissingExtraError, match=r"gguf-f16 .* \[gguf\]"):
        making.export_folder(source.directory, ["gguf-f16"], tmp_path, QUIET)
    assert list(tmp_path.iterdir()) == []


def test_another_model_class_is_refused_by_name(source: ModelSource, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    files.write_json(folder / "config.json", {"model_type": "llama", "vocab_size": 300, **sizes})
    with pytest.raises(UsageError, match=r"onnx: .* is a llama model.* huggingface, pytorch\)"):
        making.export_folder(folder, ["onnx"], tmp_path / "out", QUIET)


@pytest.mark.parametrize("name", ["ctranslate2", "tensorflow", "flax"])
def test_settings_that_a_format_cannot_express_are_refused(
    source: ModelSource, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    config = files.read_json(folder / "config.json")
    files.write_json(folder / "config.json", {**config, "scale_attn_by_inverse_layer_idx": True})
    with pytest.raises(UsageError, match="sets scale_attn_by_inverse_layer_idx to True"):
        making.export_folder(folder, [name], tmp_path / "out", QUIET)


ROWS = 'name = "none"\n[[corpus.source]]\nname = "none"\nkind = "text"\npath = "none.txt"\n'


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "gguf-q8_0",
            ("tokenizer.normalization=nmt_nfkc", "tokenizer.byte_fallback=false",
             "tokenizer.keep_newlines=false"),
            r"gguf-q8_0: the tokenizer merges spaces.*tokenizer\.add_dummy_prefix=true",
        ),
        (
            "gguf-f16",
            ("tokenizer.type=bpe", "tokenizer.normalization=nfkc"),
            "llama.cpp's BPE takes them as they are.*or leave out this format",
        ),
        ("onnx", ("model.config.activation_function=relu",), "sets activation_function to 'relu'"),
        *(
            (name, ("model.config.scale_attn_weights=false",), "sets scale_attn_weights to False")
            for name in ("tensorflow", "flax")
        ),
        ("onnx-int8", ("model.size=large",), "this format takes at most 450,000,000; onnx and"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_refused_before_the_training(
    name: str, overrides: tuple[str, ...], message: str
) -> None:
    wanted = parse(ROWS + "[train]\nmax_steps = 1\n", overrides=overrides)
    with pytest.raises(UsageError, match=message):
        table.FORMATS[name].check_recipe(wanted)
    table.FORMATS["pytorch"].check_recipe(wanted)


def test_llama_cpp_takes_the_original_s_settings_with_its_space_in_front() -> None:
    settings = ("normalization=nmt_nfkc", "byte_fallback=false", "keep_newlines=false")
    overrides = [f"tokenizer.{each}" for each in (*settings, "add_dummy_prefix=true")]
    wanted = parse(ROWS + "[train]\nmax_steps = 1\n", overrides=overrides)
    table.FORMATS["gguf-q8_0"].check_recipe(wanted)


def test_a_folder_s_tokenizer_is_looked_at_before_a_format_is_made(
    source: ModelSource, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    made = folders.sentencepiece()
    made.normalizer_spec.remove_extra_whitespaces = True
    (folder / "spiece.model").write_bytes(made.SerializeToString())
    with pytest.raises(UsageError, match="gguf-f32: the tokenizer merges spaces"):
        making.export_folder(folder, ["gguf-f32"], tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="gguf-f32: the tokenizer merges spaces"):
        making.export_folder(folder, ["gguf-f32", "pytorch"], tmp_path / "out", QUIET)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pytorch"]


def test_all_leaves_out_what_cannot_be_and_says_why(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    made = folders.sentencepiece()
    made.normalizer_spec.remove_extra_whitespaces = True
    (folder / "spiece.model").write_bytes(made.SerializeToString())
    there = ("h5py", "gguf", "xllamacpp")
    monkeypatch.setattr(table, "find_spec", lambda name: True if name in there else None)
    told: list[str] = []
    found = table.chosen(
        ["all"], lambda one: one.check_source(ModelSource.open(folder)), told.append
    )
    assert [one.name for one in found] == ["pytorch", "tensorflow"]
    reasons = dict(line.removeprefix("--format all leaves out ").split(": ", 1) for line in told)
    assert reasons.keys() == table.FORMATS.keys() - {"pytorch", "tensorflow"}
    assert "needs the extra [openvino]" in reasons["openvino"]
    assert "the tokenizer merges spaces" in reasons["gguf-q8_0"]


def test_a_tokenizer_from_elsewhere_is_looked_at_before_the_training(tmp_path: Path) -> None:
    made = folders.sentencepiece()
    made.normalizer_spec.remove_extra_whitespaces = True
    (tmp_path / "other.model").write_bytes(made.SerializeToString())
    place = json.dumps(str(tmp_path / "other.model"))
    wanted = parse(ROWS + "[train]\nmax_steps = 1\n", overrides=(f"tokenizer.from={place}",))
    with pytest.raises(UsageError, match="gguf-f16: the tokenizer merges spaces"):
        table.FORMATS["gguf-f16"].check_recipe(wanted)


def test_where_a_format_fails_the_others_are_made(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jagpt.formats import flax

    monkeypatch.setattr(flax, "write", spoiled(flax.write))
    with pytest.raises(JagptError, match="is not as in"):
        making.export_folder(source.directory, ["tensorflow", "flax", "pytorch"], tmp_path, QUIET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pytorch", "tensorflow"]


@pytest.mark.parametrize(
    "fill",
    [
        lambda folder: (folder / "a" / ".git").mkdir(parents=True),
        lambda folder: files.write_json(folder / "parity.json", {"mine": 1}),
        fakes.PARITY.write,
        lambda folder: (folder.rmdir(), folder.write_text("mine")),
        lambda folder: (folder.rmdir(), folder.symlink_to("nowhere")),
    ],
)
def test_what_is_no_export_is_never_replaced(
    source: ModelSource, tmp_path: Path, fill: Callable[[Path], object]
) -> None:
    mine = tmp_path / "out" / "tensorflow"
    mine.mkdir(parents=True)
    fill(mine)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"tensorflow: would be replaced.*move it away, or.*--out"):
        making.export_folder(source.directory, ["pytorch", "tensorflow"], mine.parent, QUIET)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_and_an_earlier_export_are_replaced(
    source: ModelSource, tmp_path: Path
) -> None:
    place = tmp_path / "pytorch"
    place.mkdir()
    making.export_folder(source.directory, ["pytorch"], tmp_path, QUIET)
    (place / "old").write_text("")
    making.export_folder(source.directory, ["pytorch"], tmp_path, QUIET)
    assert "old" not in manifests.list_files(place)


@pytest.mark.parametrize("part", ["", "model"])
def test_a_run_s_own_folders_take_no_exports(
    source: ModelSource, tmp_path: Path, part: str
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(source.directory, run.model)
    fakes.finish(run, "export")
    run.recipe.write_text(fakes.RECIPE, "utf-8")
    arguments = ["export", "--model", str(run.root / part), "--format", "pytorch"]
    with pytest.raises(UsageError, match=r"the run .*run holds its own exports: give it as REC"):
        app.main(arguments, standalone_mode=False)
    assert manifests.list_files(run.model) == manifests.listed(run.model)
    (run.model / manifests.MANIFEST).unlink()  # a model beside a recipe
    app.main([*arguments[:2], str(run.model), *arguments[3:]], standalone_mode=False)
    assert (run.model / "export" / "pytorch").is_dir()


def test_all_are_those_that_can_be_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "find_spec", lambda name: None if name == "openvino" else True)
    assert [one.name for one in table.chosen(["all"])] == [*table.FORMATS][:-1]
    told: list[str] = []
    llama = table.chosen(["all"], lambda one: one.check_type("llama", "[model]"), told.append)
    assert [one.name for one in llama] == ["pytorch"]
    assert len(told) == len(table.FORMATS) - 1
    assert [one.name for one in table.chosen(["gguf"])] == ["gguf-q8_0"]


def test_gguf_wants_a_sentencepiece_model(source: ModelSource, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source.directory, tmp_path / "model"))
    (folder / "spiece.model").unlink()
    with pytest.raises(DataError, match=r"spiece\.model: missing; gguf contains"):
        making.export_folder(folder, ["gguf-f32"], tmp_path / "out", QUIET)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "either a RECIPE or --model"),
        (["export", "--model", "x"], "no format given"),
        (["export", "--model", "x", "--run-dir", "y"], "--run-dir has no effect with --model"),
        (["export", "--model", "x", "--format", "coreml"], "no such format; there are hugging"),
        (["export", "quickstart", "--output", "x"], "--output goes with --model"),
    ],
)
def test_the_command_line_says_what_is_wanted(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        app.main(arguments, standalone_mode=False)
