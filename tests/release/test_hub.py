from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_double
import huggingface_hub.constants as hub_constants
import pytest
from hub_double import TOKEN, Hub, Large
from huggingface_hub import ModelCard, snapshot_download
from released import FIRST, SECOND, Run, another

from jagpt.errors import StorageError, UsageError
from jagpt.progress import QUIET
from jagpt.release.destination import Destination
from jagpt.release.publish import Outcome, publish

MODEL = "org/tiny-gpt2"
LARGE = ("model.safetensors", "valid_loss_curve.png")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The double in the hub's place, a token, and no waiting between attempts."""
    with hub_double.in_its_place(monkeypatch) as found:
        monkeypatch.setattr(hub_constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def push(run: Run, place: str = MODEL, kind: Any = "hub", **options: bool) -> Outcome:
    return publish(*run, Destination(kind, place), QUIET, **options)


def test_a_new_revision_stands_whole_under_its_tag(first: Run, hub: Hub) -> None:
    outcome = push(first)
    repository = hub.repositories[f"models/{MODEL}"]
    assert repository.private
    assert repository.tags == {FIRST: outcome.commit}
    tree = repository.commits[str(outcome.commit)]
    assert set(tree) == {file.name for file in outcome.plan.publication.files}
    weights = (first[1].release / "model.safetensors").read_bytes()
    assert tree["model.safetensors"] == Large(hashlib.sha256(weights).hexdigest(), len(weights))
    about_it = {token for path, token in hub.tokens.items() if MODEL in path}
    assert about_it == {f"Bearer {TOKEN}"}


def test_a_second_revision_keeps_the_first(first: Run, second: Run, hub: Hub) -> None:
    push(first)
    push(second)
    repository = hub.repositories[f"models/{MODEL}"]
    assert set(repository.tags) == {FIRST, SECOND}
    card = repository.commits[repository.tags[SECOND]]["README.md"]
    assert isinstance(card, bytes)
    assert f"| {FIRST} | {repository.tags[FIRST][:12]} |" in card.decode()
    changelog = repository.commits[repository.tags[SECOND]]["CHANGELOG.md"]
    assert isinstance(changelog, bytes)
    assert [line for line in changelog.decode().splitlines() if line.startswith("## ")] == [
        f"## {SECOND}", f"## {FIRST}",
    ]  # fmt: skip


def test_both_revisions_load_by_name(first: Run, second: Run, hub: Hub, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    push(first)
    push(second)
    for run, revision in ((first, FIRST), (second, SECOND)):
        folder = snapshot_download(
            MODEL, revision=revision, cache_dir=tmp_path, endpoint=hub.endpoint,
            allow_patterns=["config.json", "model.safetensors"],
        )  # fmt: skip
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        theirs = AutoModelForCausalLM.from_pretrained(run[1].release)
        assert loaded.lm_head.weight.equal(theirs.lm_head.weight)


@pytest.mark.parametrize("lose_answer", [False, True])
def test_goes_on_after_a_cut_at_every_change(first: Run, hub: Hub, lose_answer: bool) -> None:
    hub.lose_answer = lose_answer
    large = [name for name in LARGE if (first[1].release / name).exists()]
    changes = len(large) + 3  # the repository, each large file, the commit, the tag
    for _ in range(changes if lose_answer else changes - 1):
        hub.allow = 1
        with pytest.raises(StorageError, match="run the same command again"):
            push(first)
    hub.allow = 1
    assert push(first).plan.done is lose_answer
    kinds = [change.partition(" ")[0] for change in hub.changes]
    assert kinds == ["create", *(["upload"] * len(large)), "commit", "tag"]
    assert len(set(hub.changes)) == len(hub.changes)
    assert set(hub.repositories[f"models/{MODEL}"].tags) == {FIRST}


def test_the_same_again_sends_nothing(first: Run, hub: Hub) -> None:
    push(first)
    before = list(hub.changes)
    assert push(first).plan.done
    assert hub.changes == before


def test_a_dry_run_sends_nothing(first: Run, hub: Hub) -> None:
    outcome = push(first, dry_run=True)
    assert "a new private one" in outcome.plan.where
    assert hub.changes == []
    assert {method for method, _ in hub.requests} <= {"GET", "HEAD"}


def test_another_content_at_the_hub_is_found_before_the_tag(first: Run, hub: Hub) -> None:
    hub.spoil = "config.json"
    with pytest.raises(StorageError, match=r"differs after the upload \(config\.json\)"):
        push(first)
    assert hub.repositories[f"models/{MODEL}"].tags == {}
    hub.spoil = None
    push(first)
    assert set(hub.repositories[f"models/{MODEL}"].tags) == {FIRST}


def test_a_revision_that_stands_for_other_files_stays(first: Run, hub: Hub, tmp_path: Path) -> None:
    push(first)
    with pytest.raises(UsageError, match=r"--set release.revision=20210820.1.1"):
        push(another(first, tmp_path / "other", 'release.notes="Better."'))


def test_a_public_repository_is_used_only_on_request(first: Run, second: Run, hub: Hub) -> None:
    push(first, public=True)
    assert not hub.repositories[f"models/{MODEL}"].private
    with pytest.raises(UsageError, match="--public"):
        push(second)
    push(second, public=True)


def test_what_an_earlier_release_listed_goes_and_the_rest_stays(
    first: Run, second: Run, hub: Hub
) -> None:
    push(first)
    repository = hub.repositories[f"models/{MODEL}"]
    tree = dict(repository.commits[repository.head])
    sums = tree["SHA256SUMS"]
    assert isinstance(sums, bytes)
    old = {"old.txt": b"x", "mine.md": b"y", "SHA256SUMS": sums + b"0" * 64 + b"  old.txt\n"}
    repository.add(tree | old)
    push(second)
    names = set(repository.commits[repository.tags[SECOND]])
    assert "mine.md" in names
    assert "old.txt" not in names


def test_checksums_that_are_not_ours_remove_nothing(first: Run, hub: Hub) -> None:
    repository = hub_double.Repository(private=True)
    repository.add({"SHA256SUMS": b"0" * 64 + b"  survey.csv\n", "survey.csv": b"mine"})
    hub.repositories[f"models/{MODEL}"] = repository
    assert push(first).plan.removed == ()
    assert repository.commits[repository.head]["survey.csv"] == b"mine"


def test_what_the_repository_puts_into_lfs_stays_there(first: Run, second: Run, hub: Hub) -> None:
    push(first)
    repository = hub.repositories[f"models/{MODEL}"]
    tree = dict(repository.commits[repository.head])
    line = b"*.mp4 filter=lfs diff=lfs merge=lfs -text\n"
    ours = tree[".gitattributes"]
    assert isinstance(ours, bytes)
    repository.add(tree | {".gitattributes": ours + line})
    assert push(first).plan.done
    push(second)
    assert repository.commits[repository.tags[SECOND]][".gitattributes"] == ours + line


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "hf auth login"), (403, "write access"), (429, "wait a few minutes"), (500, "network")],
)
def test_a_refusal_is_told_with_what_to_do_and_without_the_token(
    first: Run, hub: Hub, status: int, advice: str
) -> None:
    hub.refuse = (status, f"go away with {TOKEN}, Authorization: Bearer {TOKEN}")
    with pytest.raises(StorageError, match=advice) as caught:
        push(first)
    assert TOKEN not in str(caught.value)


def test_another_users_place_is_refused(first: Run, hub: Hub) -> None:
    with pytest.raises(StorageError, match="has no write access"):
        push(first, "stranger/model")


def test_no_token_is_told(first: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(hub_constants, "HF_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(UsageError, match="set HF_TOKEN"):
        push(first)


def test_no_network_is_told(first: Run, hub: Hub) -> None:
    hub.allow = 0
    with pytest.raises(StorageError, match="check the network"):
        push(first)


def test_the_card_names_the_place_and_the_revision(first: Run, hub: Hub) -> None:
    push(first)
    repository = hub.repositories[f"models/{MODEL}"]
    content = repository.commits[repository.head]["README.md"]
    assert isinstance(content, bytes)
    card = ModelCard(content.decode())
    assert f'folder = "{MODEL}"' in card.text
    assert f'from_pretrained(folder, revision="{FIRST}")' in card.text
