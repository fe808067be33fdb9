from __future__ import annotations

import json
import shutil
from pathlib import Path

import fakes
import pytest

from jagpt import generation
from jagpt.errors import DataError, UsageError
from jagpt.export import huggingface
from jagpt.generation import Continuation, Drawing, Settings, Token, generate
from jagpt.generation.generator import MAX_ROWS
from jagpt.progress import QUIET

PROMPT = "統計的推定を使うことで、"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = fakes.run_directory(tmp_path_factory.mktemp("run"))
    huggingface.run(fakes.recipe(), run, QUIET)
    return run.model


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "model"))


def test_gives_the_asked_number_of_continuations_without_the_prompt(exported: Path) -> None:
    found = generate(exported, [PROMPT, "京都"], Settings(num_return_sequences=3, max_new_tokens=9))
    assert [len(texts) for texts in found] == [3, 3]
    for texts in found:
        assert len(set(texts)) > 1
        for text in texts:
            assert not text.startswith(PROMPT)
            assert len(text) <= 9
            assert "<" not in text


def test_same_seed_gives_the_same_text_whatever_prompts_stand_beside(exported: Path) -> None:
    settings = Settings(seed=7, num_return_sequences=2)
    alone = generate(exported, [PROMPT], settings)
    beside = generate(exported, ["日本語", PROMPT], settings)
    assert beside[1] == alone[0]
    assert generate(exported, [PROMPT], Settings(seed=8, num_return_sequences=2)) != alone


def test_a_continuation_does_not_depend_on_how_many_are_asked_for(exported: Path) -> None:
    def asked(count: int) -> list[str]:
        settings = Settings(seed=3, num_return_sequences=count, max_new_tokens=8, temperature=1.0)
        return generate(exported, [PROMPT], settings)[0]

    many = asked(MAX_ROWS + 2)
    assert asked(3) == many[:3]
    assert len(set(many)) > 3


def test_leaves_the_callers_random_state_alone(exported: Path) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    generate(exported, [PROMPT])
    assert torch.equal(torch.rand(1), expected)


def test_greedy_ignores_the_seed(exported: Path) -> None:
    one, two = (generate(exported, [PROMPT], Settings(greedy=True, seed=s)) for s in (1, 2))
    assert one == two


def test_top_k_one_is_greedy(exported: Path) -> None:
    settings = Settings(top_k=1, seed=3)
    assert generate(exported, [PROMPT], settings) == generate(
        exported, [PROMPT], Settings(greedy=True)
    )


def test_stops_at_the_end_token(folder: Path) -> None:
    path = folder / "generation_config.json"
    defaults = json.loads(path.read_text())
    greedy = generation.load(folder)
    settings = Settings(greedy=True, repetition_penalty=9.0)  # or it says one token for ever
    (whole,) = greedy.sample(greedy.encode(PROMPT), Drawing(new_tokens=9, repetition_penalty=9.0))
    end = next(token for token in whole.tokens[1:] if token.id != whole.tokens[0].id)
    path.write_text(json.dumps({**defaults, "eos_token_id": end.id}))
    before = whole.tokens[: whole.tokens.index(end)]
    ((found,),) = generation.scored(generation.load(folder), [PROMPT], settings)
    assert [token.id for token in found.tokens] == [token.id for token in before]
    assert found.ended
    assert not whole.ended


def test_an_empty_prompt_begins_a_text(exported: Path) -> None:
    ((text,),) = generate(exported, [""], Settings(max_new_tokens=5))
    assert len(text) <= 5


def test_takes_the_folders_own_defaults(folder: Path) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_new_tokens": 3, "top_k": 1}))
    assert generate(folder, [PROMPT]) == generate(
        folder, [PROMPT], Settings(greedy=True, max_new_tokens=3)
    )


def test_records_are_plain_json() -> None:
    found = [Continuation((Token(5, "b", -1.5), Token(6, "c", -0.5)), ended=True)]
    (plain,) = generation.as_records(["a"], [found])
    assert json.loads(json.dumps(plain)) == {"prompt": "a", "continuations": ["bc"]}
    (with_scores,) = generation.as_records(["a"], [found], scores=True)
    assert json.loads(json.dumps(with_scores["scores"])) == [
        [{"id": 5, "text": "b", "logprob": -1.5}, {"id": 6, "text": "c", "logprob": -0.5}]
    ]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"temperature": 0.0}, r"--temperature 0: allowed is 0.000001 to 1,000,000; --greedy"),
        ({"temperature": -1.0}, r"--temperature -1: "),
        ({"temperature": float("nan")}, r"--temperature nan"),
        ({"temperature": float("inf")}, r"--temperature inf"),
        ({"top_p": 1.01}, r"--top-p 1.01: allowed is more than 0, up to 1"),
        ({"top_p": 0.0}, r"--top-p 0:"),
        ({"top_k": -1}, r"--top-k -1: allowed is 0 or more"),
        ({"repetition_penalty": 0.0}, r"--repetition-penalty 0: allowed is 0.000001 to"),
        ({"repetition_penalty": float("inf")}, r"--repetition-penalty inf: "),
        ({"max_new_tokens": 0}, r"--max-new-tokens 0: allowed is 1 or more"),
        ({"num_return_sequences": 0}, r"--num-return-sequences 0: allowed is 1 to 1000"),
        ({"seed": -1}, r"--seed -1: allowed is 0 to"),
        ({"seed": 2**63}, r"--seed 9223372036854775808"),
        ({"greedy": True, "top_p": 0.5}, r"--top-p: --greedy draws nothing"),
        ({"greedy": True, "num_return_sequences": 2}, r"--num-return-sequences 2: --greedy"),
    ],
)
def test_refuses_bad_knobs_by_name(knobs: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**knobs)  # type: ignore[arg-type]


def test_refuses_a_prompt_beyond_the_context_with_the_numbers(exported: Path) -> None:
    with pytest.raises(UsageError, match=r"48 tokens, .* context is 48: at most 47"):
        generate(exported, ["あ" * 48])
    with pytest.raises(UsageError, match=r"^prompt 2: the prompt has 50 tokens"):
        generate(exported, ["あ", "あ" * 50])


def test_refuses_more_new_tokens_than_fit_but_cuts_the_default(exported: Path) -> None:
    with pytest.raises(UsageError, match=r"9: .* 40 tokens .* 48, so at most 8 fit"):
        generate(exported, ["あ" * 40], Settings(max_new_tokens=9))
    ((text,),) = generate(exported, ["あ" * 47])
    assert len(text) <= 1


@pytest.mark.parametrize(("prompts", "message"), [([], "no prompt"), (["\udcff"], "UTF-8")])
def test_refuses_what_is_no_prompt(exported: Path, prompts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(exported, prompts)


def test_names_what_a_folder_lacks(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        generate(tmp_path / "nowhere", [PROMPT])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no config\.json"):
        generate(tmp_path / "empty", [PROMPT])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="no tokenizer"):
        generate(folder, [PROMPT])
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pickled pytorch_model.bin is not read"):
        generate(folder, [PROMPT])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "no-such-model"}'])
def test_refuses_a_configuration_that_is_none(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(DataError):
        generate(folder, [PROMPT])


def test_refuses_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not readable as safetensors"):
        generate(folder, [PROMPT])


def test_refuses_weights_of_another_shape(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "n_layer": 3}))
    with pytest.raises(DataError, match=r"needs .* weights, but the tensor files hold"):
        generate(folder, [PROMPT])


def test_refuses_a_tokenizer_that_does_not_belong_to_the_model(folder: Path) -> None:
    fakes.write_tokenizer(folder, fakes.CHARACTERS + "漢字が多すぎる")
    with pytest.raises(DataError, match="do not belong together"):
        generate(folder, [PROMPT])


def test_runs_no_code_from_the_folder(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    path.write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()")
    with pytest.raises(DataError):
        generate(folder, [PROMPT])
    assert not (folder / "ran").exists()


def test_weights_that_compute_no_numbers_are_told(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["transformer.ln_f.bias"] = weights["transformer.ln_f.bias"] * float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="output is not finite"):
        generate(folder, [PROMPT])


def test_rows_without_a_piece_are_never_drawn(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path)
    fakes.write_checkpoints(run.own("train"), vocab_size=fakes.VOCAB_SIZE + 900)
    huggingface.run(fakes.recipe(), run, QUIET)
    ((text,),) = generate(run.model, [PROMPT], Settings(max_new_tokens=20, top_k=0, top_p=1.0))
    assert len(text) >= 15


def test_prints_nothing(exported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generate(exported, [PROMPT])
    assert capfd.readouterr() == ("", "")
