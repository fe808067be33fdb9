"""Files from strangers: no pickle, and whatever was done to them, one of jagpt's own errors."""

from __future__ import annotations

import ast
import copy
import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch

import jagpt
from jagpt import files, generation, manifests, models, report
from jagpt.corpus import parts
from jagpt.corpus.parts import PartName
from jagpt.corpus.stats import CorpusStats, ExtractionStats
from jagpt.errors import DataError, JagptError
from jagpt.evaluation.result import Evaluation
from jagpt.formats.bounds import Parity
from jagpt.manifests import FileEntry, Manifest
from jagpt.models import build, checkpoint_folder
from jagpt.pipeline.ledger import Ledger
from jagpt.recipe import Model
from jagpt.release.samples import Samples
from jagpt.rundir import RunDirectory
from jagpt.timing import Timing
from jagpt.tokenizer.stats import TokenizerStats
from jagpt.tokens.index import TokenIndex
from jagpt.training import checkpoints, weights
from jagpt.training.environment import Environment
from jagpt.training.state import State, Validation

from .conftest import inside

SOURCE = Path(jagpt.__file__).parent
MUTATIONS = int(os.environ.get("JAGPT_MUTATIONS", "400"))

# --- no pickle ------------------------------------------------------------------------------------

PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval", "exec", "torch.load", "torch.jit.load", "torch.package", "yaml.load", "numpy.load",
    "np.load", "pandas.read_pickle", "pd.read_pickle",
}  # fmt: skip
WRITES_PICKLE = {"torch.save"}
OWN_PROGRAMS = {("release/trial.py", "exec")}
"""The card's programs, which jagpt itself wrote, are run before they are shown, elsewhere."""
MAY_WRITE_PICKLE = "formats/"
"""Where the requested pytorch_model.bin is written."""


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def offences(path: Path) -> list[str]:
    """What of a source file reads or writes pickle, or runs code from a file."""
    tree = ast.parse(path.read_text("utf-8"))
    name = path.relative_to(SOURCE).as_posix() if path.is_relative_to(SOURCE) else path.name
    found = [f"imports {i}" for i in imports(tree) if i.partition(".")[0] in PICKLING]
    for called, node in calls(tree):
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called in FORBIDDEN_CALLS and (name, called) not in OWN_PROGRAMS:
            found.append(f"calls {called}")
        if called in WRITES_PICKLE and not name.startswith(MAY_WRITE_PICKLE):
            found.append(f"calls {called}")
        if options.get("allow_pickle", "False") != "False":
            found.append(f"allows pickle in {called}")
        if options.get("trust_remote_code", "False") != "False":
            found.append(f"trusts remote code in {called}")
        is_model = called.endswith(".from_pretrained") and "Model" in called
        if is_model and options.get("use_safetensors") != "True":
            found.append(f"{called} may read a pickle: use_safetensors=True is missing")
    return [f"{name}: {offence}" for offence in found]


def test_no_pickle_is_read_and_none_written_unasked() -> None:
    assert [offence for path in sources() for offence in offences(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import_module('dill')",
        "torch.load(p, weights_only=True)",
        "torch.save(x, p)",
        "np.load(p)",
        "f(p, allow_pickle=True)",
        "eval(text)",
        "AutoModelForCausalLM.from_pretrained(p)",
        "AutoTokenizer.from_pretrained(p, trust_remote_code=True)",
    ],
)
def test_the_search_for_pickle_finds_one(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert offences(tmp_path / "module.py")


# --- what is mutated ------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, 1.5, -0.0, float("inf"), float("nan"), "",
    "x", "../x", "/../../../x", "**x", "/etc/passwd", "a\0b", "é" * 300, [], [[]], {}, {"a": {}},
    [None], "\ud800",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something could be put instead, at every depth."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*path, number))


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy with one to three values replaced, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        *path, last = rng.choice([p for p in places(value) if p] or [(None,)])
        odd = copy.deepcopy(rng.choice(ODD))  # what is added may be changed in its turn
        if last is None:
            return odd
        target = value
        for key in path:
            target = target[key]
        action = rng.choice(("replace", "replace", "replace", "remove", "add"))
        if action == "replace":
            target[last] = odd
        elif action == "remove":
            del target[last]
        elif isinstance(target, dict):
            target[rng.choice(("x", "", "__metadata__", "version"))] = odd
        else:
            target.append(odd)
    return value


def damaged_bytes(raw: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut or put in."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        action = rng.choice(("flip", "cut", "insert"))
        if action == "flip" and data:
            data[at] ^= 1 << rng.randrange(8)
        elif action == "cut":
            del data[at : at + rng.randint(1, 40)]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
    return bytes(data)


def mutations(value: Any, seed: str, count: int) -> Iterator[bytes]:
    """JSON files that were `value` once: half of them still JSON, half damaged anyhow."""
    rng = random.Random(seed)
    raw = json.dumps(value, indent=2).encode()
    for number in range(count):
        if number % 2:
            yield damaged_bytes(raw, rng)
        else:
            yield json.dumps(mutated(value, rng)).encode()


def reads_or_refuses(read: Callable[[], object], content: bytes) -> bool:
    """Whether it was read; any error but jagpt's own fails the test."""
    try:
        read()
    except JagptError:
        return False
    except BaseException as error:
        pytest.fail(f"{type(error).__name__}: {error}\n{content[:2000]!r}")
    return True


# --- JSON -----------------------------------------------------------------------------------------

MANIFEST: dict[str, Any] = {
    "stage": "tokens", "version": 1, "fingerprint": "ab" * 32,
    "section": {"tokens": {"end_token": True}}, "inputs": {"corpus": "cd" * 32},
    "files": [{"name": "train-00000.bin", "size": 12, "sha256": "ef" * 32},
              {"name": "b/c", "size": 0, "sha256": "00" * 32}],
}  # fmt: skip
SAMPLES: dict[str, Any] = {
    "seed": 1000, "samples": [{"prompt": "京都", "continuations": ["は", "の"]}],
}  # fmt: skip
STATE: dict[str, Any] = {
    "version": 1, "step": 4, "sequences": 8, "tokens": 256,
    "validation": [{"step": n, "tokens": 64 * n, "loss": 5.0 - n / 8} for n in (2, 4)],
    "best": {"step": 4, "tokens": 256, "loss": 4.5}, "scaler": {"scale": 1.0},
    "files": {"model.safetensors": "ab" * 32, "optimizer.safetensors": "cd" * 32},
}  # fmt: skip
INDEX: dict[str, Any] = {
    "version": 1, "dtype": "<u2", "vocab_size": 64, "end_id": 3, "tokenizer": "ab",
    "splits": {"train": [{"name": "train-00000", "documents": 1, "tokens": 2, "characters": 3,
                          "bytes": 9}]},
}  # fmt: skip
CHECKPOINTS: dict[str, Any] = {
    "best": "step-00000004", "best_loss": 4.5, "last": "step-00000004",
    "checkpoints": [{"name": "step-00000004", "step": 4, "loss": 4.5}],
}  # fmt: skip
ENVIRONMENT: dict[str, Any] = {
    "world_size": 1, "device": "cpu", "processor": "x", "cores": 2, "threads": 2, "python": "3.11",
    "torch": "2.13", "transformers": "5.0",
}  # fmt: skip
PARITY: dict[str, Any] = {
    "format": "onnx", "weights": "model.onnx", "source": "ab" * 32, "precision": "fp32",
    "text": "test", "compared": "logits", "logit_difference": 1e-6, "prompts": 20,
    "perplexity": 12.5, "bounds": {"precision": "fp32", "logits": 1e-4},
}  # fmt: skip
EXTRACTION: dict[str, Any] = {
    "extraction": {"jagpt": "0.1", "from": "dump"}, "files": [{"size": 1, "sha256": "ab" * 32}],
    "wiki": None, "pages": 1, "redirects": 0, "other_namespaces": 0, "articles": 1, "documents": 1,
    "characters": 1, "bytes": 3, "left_out": {"short": 1},
    "left_out_pages": [{"id": "1", "title": "x", "reason": "short"}], "unknown_templates": [],
}  # fmt: skip
PART: dict[str, Any] = {
    "digest": "ab", "range": {"pages": 1, "streams": 1, "xml_bytes": 9, "against_index": None},
    "counts": {"pages": 1, "redirects": 0, "other_namespaces": 0, "articles": 1,
               "unknown_templates": {"x": [12, 1]}},
}  # fmt: skip

JSON_FILES: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "manifest": (manifests.MANIFEST, MANIFEST, Manifest.read),
    "progress": (manifests.IN_PROGRESS, MANIFEST, manifests.Manifest.unfinished),
    "state": ("state.json", STATE, checkpoints.read),
    "token index": ("index.json", INDEX, TokenIndex.read),
    "checkpoint index": ("index.json", CHECKPOINTS, lambda d: checkpoint_folder.resolve(d, "best")),
    "timing": ("timing.json", fakes.TIMING.as_json(), Timing.read),
    "ledger": ("logs/timing.json", fakes.TIMING.as_json(), lambda d: Ledger.read(RunDirectory(d))),
    "corpus": ("stats.json", fakes.CORPUS.as_json(), CorpusStats.read),
    "tokenizer": ("stats.json", fakes.TOKENIZER.as_json(), TokenizerStats.read),
    "evaluation": ("test.json", fakes.EVALUATION.as_json(), Evaluation.read),
    "environment": ("environment.json", ENVIRONMENT, Environment.read),
    "parity": ("parity.json", PARITY, Parity.read),
    "samples": ("samples.json", SAMPLES, Samples.read),
    "extraction": ("stats.json", EXTRACTION, ExtractionStats.read),
    "part": ("000-00000-000000.json", PART, lambda d: parts.read_facts(d, PartName(0, 0, 0))),
}


@pytest.mark.parametrize("kind", JSON_FILES)
def test_a_mutated_json_file_is_read_or_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    name, value, read = JSON_FILES[kind]
    folder = tmp_path / "step-00000004"
    target = folder / name
    target.parent.mkdir(parents=True)
    refused = named = 0
    for content in mutations(value, kind, MUTATIONS // 4):
        target.write_bytes(content)
        try:
            read(folder)
        except JagptError as error:
            named += target.name in str(error) or "step-0000" in str(error)
            refused += 1
        except BaseException as error:
            pytest.fail(f"{type(error).__name__}: {error}\n{content[:2000]!r}")
    assert named == refused
    assert refused or kind == "ledger"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run with every record that a report shows."""
    run = fakes.run_directory(tmp_path_factory.mktemp("whole") / "run")
    fakes.EVALUATION.write(run.own("evaluate"))
    files.write_json(run.own("release") / Samples.FILE, SAMPLES)
    files.write_json(run.logs / Environment.FILE, ENVIRONMENT)
    return run


@pytest.mark.parametrize(
    "name",
    [
        "corpus/stats.json", "corpus/manifest.json", "tokenizer/stats.json", "tokens/index.json",
        "checkpoints/index.json", "checkpoints/step-00000020/state.json", "evaluation/test.json",
        "release/samples.json", "logs/timing.json", "logs/environment.json", "logs/metrics.jsonl",
    ],
)  # fmt: skip
def test_a_report_on_a_strangers_records_is_a_page_or_one_line(
    whole: RunDirectory, name: str
) -> None:
    path = whole.root / name
    raw = path.read_bytes()
    lines = raw.decode().splitlines() if path.suffix == ".jsonl" else []
    value = [json.loads(line) for line in lines] if lines else json.loads(raw)
    told: list[str] = []
    try:
        for content in mutations(value, name, MUTATIONS // 10):
            if lines:
                content = content.replace(b"}, {", b"}\n{").strip(b"[]")
            path.write_bytes(content)
            try:
                report.render([whole])
            except DataError as error:
                told.append(str(error))
            except BaseException as error:
                pytest.fail(f"{type(error).__name__}: {error}\n{content[:2000]!r}")
    finally:
        path.write_bytes(raw)
    assert all(str(path) in text and "\n" not in text for text in told)


def test_what_a_manifest_says_after_a_mutation_stays_in_its_folder(tmp_path: Path) -> None:
    for content in mutations(MANIFEST, "names", MUTATIONS // 4):
        (tmp_path / manifests.MANIFEST).write_bytes(content)
        try:
            manifest = Manifest.read(tmp_path)
        except DataError:
            continue
        for entry in manifest.files:
            assert (tmp_path / entry.name).resolve().is_relative_to(tmp_path.resolve())


# --- safetensors and model folders ----------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder (without a tokenizer) of some thousand weights."""
    path = tmp_path_factory.mktemp("stranger") / "model"
    shape = Model(n_layer=1, n_head=1, n_embd=8, n_positions=8, dropout=0.0)
    special = build.SpecialIds(bos=2, eos=3, pad=0)
    network = build.network(shape, 16, special, 1)
    files.make_directory(path)
    optimizer = torch.optim.AdamW(network.parameters())
    sum(p.sum() for p in network.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    weights.write(path, network, optimizer, {})
    return path


def header_of(raw: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def with_header(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def headers(raw: bytes, count: int) -> Iterator[bytes]:
    """Tensor files whose header lies in some way: types, shapes, offsets, lengths, names."""
    rng = random.Random("headers")
    header, data = header_of(raw)
    for number in range(count):
        if number % 4 == 0:
            length = rng.choice((0, 1, 2**32, 2**63, 2**64 - 1, len(raw), rng.randrange(len(raw))))
            yield struct.pack("<Q", length) + raw[8:]
        elif number % 4 == 1:
            yield damaged_bytes(raw[: len(raw) - len(data)], rng) + data
        else:
            yield with_header(mutated(header, rng), data)


def test_a_mutated_tensor_file_is_read_or_refused(folder: Path, tmp_path: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    shape = Model(n_layer=1, n_head=1, n_embd=8, n_positions=8, dropout=0.0)
    network = build.network(shape, 16, build.SpecialIds(2, 3, 0), 1)
    shutil.copytree(folder, tmp_path / "step")
    refused = 0
    for content in headers(raw, MUTATIONS):
        (tmp_path / "step" / "model.safetensors").write_bytes(content)
        read = partial(weights.read, tmp_path / "step", network)
        optimizer = torch.optim.AdamW(network.parameters())
        refused += not reads_or_refuses(partial(read, optimizer), content)
    assert refused > MUTATIONS // 2


# --- a pickle beside ------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(Bomb.crater),)

    crater: Path


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "training_args.bin"])
def test_a_pickle_beside_the_weights_is_never_opened(
    folder: Path, tmp_path: Path, name: str
) -> None:
    Bomb.crater = tmp_path / "crater"
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(pickle.dumps(Bomb()))
    _ = models.open(tmp_path / "model").network
    for weight in (tmp_path / "model").glob("*.safetensors"):
        weight.unlink()
    with pytest.raises(DataError, match=r"not read"):
        _ = models.open(tmp_path / "model").network
    with pytest.raises(JagptError):
        generation.load(tmp_path / "model")
    assert not Bomb.crater.exists()


# --- checksums ------------------------------------------------------------------------------------


def test_a_flipped_byte_of_a_checkpoint_is_found_and_the_one_before_it_used(
    folder: Path, tmp_path: Path
) -> None:
    from jagpt.training.plan import make_plan

    train = jagpt_train()
    plan = make_plan(Model(n_layer=1, n_head=1, n_embd=8, n_positions=8), train, 10_000)
    validations = (Validation(2, 128, 5.0), Validation(4, 256, 4.5))
    for step in (2, 4):
        state = State(
            step, step * 2, step * 64, validations[: step // 2], validations[step // 2 - 1]
        )
        checkpoints.save(
            tmp_path, state, lambda at: shutil.copytree(folder, at, dirs_exist_ok=True)
        )
    rng = random.Random(4)
    for name in ("model.safetensors", "optimizer.safetensors"):
        path = tmp_path / "step-00000004" / name
        whole = path.read_bytes()
        for _ in range(10):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            found = checkpoints.find(tmp_path, plan)
            assert found.state is not None
            assert found.state.step == 2
            assert name in found.damaged[4]
        path.write_bytes(whole)
    sound = checkpoints.find(tmp_path, plan)
    assert sound.state is not None
    assert sound.state.step == 4


def jagpt_train() -> Any:
    from jagpt.recipe import Train

    return Train(max_steps=10, batch_size=2, grad_accum_steps=1)


def test_a_manifest_that_lies_is_told_with_the_file(tmp_path: Path) -> None:
    """Of the three lies (a file that is not there, another size, another content) each is found."""
    from jagpt.pipeline import verify
    from jagpt.progress import QUIET

    directory = tmp_path / "tokens"
    files.write_text(directory / "train-00000.bin", "content")
    for lie in (
        FileEntry("gone.bin", 7, "0" * 64),
        FileEntry("train-00000.bin", 8, files.sha256(directory / "train-00000.bin")),
        FileEntry("train-00000.bin", 7, "0" * 64),
    ):
        Manifest("tokens", 1, "f" * 64, {}, {}, (lie,)).write(directory)
        (found,) = verify(RunDirectory(tmp_path), QUIET)
        assert lie.name in found.problems[0]


@pytest.mark.parametrize(
    ("key", "text"),
    [("stage", "../../out"), ("fingerprint", "/../../../../out"), ("fingerprint", "**x")],
)
def test_a_manifest_that_names_another_place_leads_nowhere(
    key: str, text: str, copied: Callable[..., Path], tmp_path: Path
) -> None:
    """Both become part of names: in `superseded/`, and where a run is copied to."""
    run = copied("release")
    for path in run.glob("*/manifest.json"):
        files.write_json(path, files.read_json(path) | {key: text})
    before = {path for path in tmp_path.rglob("*") if run not in path.parents}
    for verb in (
        ("status", run),
        ("push", run, "--to", f"file://{tmp_path / 'far' / 'place'}"),
        ("corpus", run, "--set", "corpus.min_characters=7", "--yes"),
        ("run", run, "--yes"),
    ):
        assert inside(*verb) in (0, 2, 3)
    made = {path for path in tmp_path.rglob("*") if run not in path.parents} - before
    assert {path.relative_to(tmp_path).parts[:2] for path in made} <= {("far",), ("far", "place")}


@pytest.mark.parametrize("name", [manifests.MANIFEST, manifests.IN_PROGRESS])
def test_what_a_damaged_manifest_stands_for_is_not_called_copied(
    name: str, copied: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    (run / "corpus" / name).write_text("[]")
    assert inside("push", run, "--to", f"file://{tmp_path / 'far'}") == 3
    assert f"corpus/{name}" in capsys.readouterr().err
    assert not (tmp_path / "far").exists()
