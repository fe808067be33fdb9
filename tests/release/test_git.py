from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from released import FIRST, SECOND, Run, another

from jagpt import files, manifests
from jagpt.errors import DataError, StorageError, UsageError
from jagpt.manifests import Manifest
from jagpt.progress import QUIET
from jagpt.release import git
from jagpt.release.changelog import parse
from jagpt.release.destination import Destination
from jagpt.release.publish import Outcome, publish
from jagpt.rundir import RunDirectory

pytestmark = pytest.mark.skipif(
    shutil.which("git-lfs") is None, reason="needs git-lfs (apt-get install git-lfs)"
)


@pytest.fixture(autouse=True)
def git_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without the machine's settings, and a name to commit by."""
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n\tname = Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An empty repository that others push to."""
    path = tmp_path / "remote.git"
    run_git("init", "--quiet", "--bare", str(path))
    return path


def run_git(*arguments: str, inside: Path | None = None) -> str:
    place = ["-C", str(inside)] if inside else []
    return subprocess.run(
        ["git", *place, *arguments], capture_output=True, text=True, check=True
    ).stdout


def push(run: Run, bare: Path, **options: bool) -> Outcome:
    return publish(*run, Destination("git", f"file://{bare}"), QUIET, **options)


def cloned(bare: Path, target: Path, revision: str) -> Path:
    """What someone else gets, large files included."""
    run_git("clone", "--quiet", "--branch", revision, f"file://{bare}", str(target))
    run_git("lfs", "install", "--local", inside=target)
    run_git("lfs", "pull", inside=target)
    return target


def hook(bare: Path, name: str, script: str) -> Path:
    path = bare / "hooks" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_two_revisions_can_be_cloned_checked_and_loaded(
    first: Run, second: Run, bare: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert push(first, bare).plan.publication.revision == FIRST
    assert push(second, bare).plan.publication.revision == SECOND
    for number, (run, revision) in enumerate(((first, FIRST), (second, SECOND))):
        clone = cloned(bare, tmp_path / f"clone{number}", revision)
        assert "Git LFS fsck OK" in run_git("lfs", "fsck", inside=clone)
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=clone, check=False
        )
        assert done.returncode == 0
        weights = (clone / "model.safetensors").read_bytes()
        assert weights == (run[1].release / "model.safetensors").read_bytes()
        assert AutoModelForCausalLM.from_pretrained(clone).config.n_layer == 2
        assert len(AutoTokenizer.from_pretrained(clone)) > 4
    assert [entry.revision for entry in parse((clone / "CHANGELOG.md").read_text())] == [
        SECOND, FIRST,
    ]  # fmt: skip
    card = (clone / "README.md").read_text()
    commit = run_git("rev-parse", FIRST, inside=clone).strip()
    assert f"| {FIRST} | {commit[:12]} |" in card
    assert f"| {SECOND} | – |" in card


def test_large_files_are_pointers_and_texts_are_not(first: Run, bare: Path) -> None:
    push(first, bare)
    pointer = run_git("cat-file", "blob", f"{FIRST}:model.safetensors", inside=bare)
    content = (first[1].release / "model.safetensors").read_bytes()
    assert f"oid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n" in pointer
    assert run_git("cat-file", "blob", f"{FIRST}:README.md", inside=bare).startswith("---\n")


def test_only_the_published_card_tells_hardware_and_time(first: Run, bare: Path) -> None:
    push(first, bare)
    card = run_git("cat-file", "blob", f"{FIRST}:README.md", inside=bare)
    assert "| Some GPU |" in card
    assert "| 63 seconds |" in card
    local = (first[1].release / "README.md").read_text()
    assert "Some GPU" not in local
    assert "学習時間" not in local


def test_the_same_again_changes_nothing(first: Run, bare: Path) -> None:
    commit = push(first, bare).commit
    again = push(first, bare)
    assert again.plan.done
    assert again.commit is None
    assert run_git("rev-parse", "HEAD", inside=bare).strip() == commit


def test_a_dry_run_sends_nothing(first: Run, bare: Path) -> None:
    outcome = push(first, bare, dry_run=True)
    assert "model.safetensors" in outcome.plan.changed
    assert run_git("for-each-ref", inside=bare) == ""
    assert not (first[1].root / ".publishing").exists()


def test_a_revision_that_stands_for_other_files_stays(
    first: Run, bare: Path, tmp_path: Path
) -> None:
    push(first, bare)
    other = another(first, tmp_path / "other", 'release.notes="Better."')
    with pytest.raises(UsageError, match=r"--set release.revision=20210820.1.1") as caught:
        push(other, bare)
    assert "README.md" in str(caught.value)
    renamed = another(first, tmp_path / "renamed", 'release.revision="20210820.1.1"')
    push(renamed, bare)
    assert run_git("tag", inside=bare).split() == ["20210820.1.0", "20210820.1.1"]


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("pre-receive", "echo no room >&2; exit 1"),
        ("update", "case $1 in refs/tags/*) echo no room >&2; exit 1;; esac"),
    ],
)
def test_goes_on_after_a_remote_that_refused(
    first: Run, bare: Path, name: str, script: str
) -> None:
    refusing = hook(bare, name, script)
    with pytest.raises(StorageError, match="no room") as caught:
        push(first, bare)
    assert "`git push` failed" in str(caught.value)
    assert run_git("tag", inside=bare) == ""
    refusing.unlink()
    commit = push(first, bare).commit
    assert run_git("rev-parse", f"{FIRST}^{{commit}}", inside=bare).strip() == commit
    assert run_git("rev-list", "--count", "HEAD", inside=bare).strip() == "1"


def test_goes_on_where_large_files_broke_off(first: Run, bare: Path) -> None:
    (bare / "lfs").write_text("in the way")
    with pytest.raises(StorageError, match="`git lfs push` failed"):
        push(first, bare)
    assert run_git("for-each-ref", inside=bare) == ""
    (bare / "lfs").unlink()
    push(first, bare)
    run_git("rev-parse", FIRST, inside=bare)


def test_what_an_earlier_release_listed_goes_and_the_rest_stays(
    first: Run, second: Run, bare: Path, tmp_path: Path
) -> None:
    push(first, bare)
    clone = cloned(bare, tmp_path / "clone", "main")
    (clone / "notes.md").write_text("of the owner")
    (clone / "old.txt").write_text("of a release")
    with (clone / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  old.txt\n")
    run_git("add", "--all", inside=clone)
    run_git("commit", "--quiet", "--message", "mine", inside=clone)
    run_git("push", "--quiet", "origin", "HEAD:main", inside=clone)
    assert push(second, bare).plan.removed == ("old.txt",)
    names = run_git("ls-tree", "--name-only", SECOND, inside=bare).split()
    assert "notes.md" in names
    assert "old.txt" not in names


@pytest.mark.parametrize(
    "settings",
    [
        "[tag]\n\tgpgSign = true\n\tforceSignAnnotated = true\n[gpg]\n\tprogram = {script}",
        "[clone]\n\tdefaultRemoteName = upstream\n[remote]\n\tpushDefault = upstream",
        "[core]\n\thooksPath = {hooks}\n[commit]\n\ttemplate = {script}\n\tverbose = true",
        "[init]\n\ttemplateDir = {template}\n[push]\n\tfollowTags = true\n\tdefault = nothing",
    ],
    ids=["signed tags", "another name for origin", "hooks", "template"],
)
def test_the_users_settings_neither_stop_it_nor_start_a_program(
    first: Run, bare: Path, tmp_path: Path, settings: str
) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in (
        *("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-checkout"),
        *("pre-push", "post-index-change", "script"),
    ):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    places = {"hooks": hooks, "script": hooks / "script", "template": hooks.parent}
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(settings.format(**places))
        config.write(f"\n[core]\n\teditor = {hooks}/script\n")
    commit = push(first, bare).commit
    assert run_git("rev-parse", f"refs/tags/{FIRST}", inside=bare).strip() == commit
    assert not (tmp_path / "ran").exists()


# --- a stranger's tree ----------------------------------------------------------------------------


def planted(bare: Path, work: Path, rows: dict[str, tuple[str, bytes]]) -> None:
    """Commit entries (mode, content; of a submodule, its commit) to a remote, as no clone would."""
    run_git("clone", "--quiet", "--no-checkout", str(bare), str(work))
    for name, (mode, content) in rows.items():
        blob = content.decode()
        if mode != "160000":
            (work / "content").write_bytes(content)
            blob = run_git("hash-object", "-w", "--no-filters", "content", inside=work).strip()
        run_git("update-index", "--add", "--cacheinfo", mode, blob, name, inside=work)
    run_git("commit", "--quiet", "--message", "planted", inside=work)
    run_git("push", "--quiet", "origin", "HEAD:main", inside=work)


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "deep"])
@pytest.mark.parametrize("kind", ["link", "submodule", "folder"])
def test_what_stands_in_the_remotes_tree_is_never_written_through(
    first: Run, bare: Path, tmp_path: Path, name: str, kind: str
) -> None:
    """A link out of the clone under the name of a file, or of a folder that is to come there."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "x.txt").write_text("the user's own")
    (home / "x.txt").chmod(0o600)
    before = {path: path.stat() for path in (home, home / "x.txt")}
    mode, content, place = {
        "link": ("120000", str(home).encode(), name),
        "submodule": ("160000", b"1" * 40, name),
        "folder": ("100644", b"below", f"{name}/below"),
    }[kind]
    planted(bare, tmp_path / "work", {place: (mode, content), "kept": ("120000", b"/etc/passwd")})
    run = another(first, tmp_path / "run")
    release = run[1].release
    files.write_text(release / "deep" / "x.txt", "ours")
    manifest = Manifest.read(release)
    replace(manifest, files=manifests.entries(release)).write(release)
    plan = push(run, bare).plan
    assert {path: path.stat() for path in before} == before
    listed = run_git("ls-tree", "-r", FIRST, inside=bare)
    assert "\tdeep/x.txt\n" in listed
    assert "120000 blob" in next(line for line in listed.splitlines() if line.endswith("\tkept"))
    kinds = {line.partition("\t")[2]: line[:6] for line in listed.splitlines()}
    assert all(kinds[file.name] == "100644" for file in plan.publication.files)
    assert plan.removed == ((place,) if place not in kinds else ())


def test_a_clone_with_windows_line_ends_has_the_checksums(
    first: Run, bare: Path, tmp_path: Path
) -> None:
    push(first, bare)
    run_git("config", "--global", "core.autocrlf", "true")
    clone = cloned(bare, tmp_path / "clone", FIRST)
    for line in (clone / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert files.sha256(clone / name) == digest, name


def test_large_files_of_others_stay_large_files(first: Run, bare: Path, tmp_path: Path) -> None:
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(
            '[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n'
            "\tprocess = git-lfs filter-process\n\trequired = true\n"
        )
    clone = tmp_path / "clone"
    run_git("clone", "--quiet", f"file://{bare}", str(clone))
    run_git("lfs", "track", "*.mp4", inside=clone)
    (clone / "demo.mp4").write_bytes(b"V" * 5000)
    run_git("add", "--all", inside=clone)
    run_git("commit", "--quiet", "--message", "mine", inside=clone)
    run_git("push", "--quiet", "origin", "HEAD:main", inside=clone)
    push(first, bare)
    run_git("pull", "--quiet", "origin", "main", inside=clone)
    run_git("lfs", "track", "*.mov", inside=clone)
    run_git("commit", "--quiet", "--all", "--message", "more", inside=clone)
    run_git("push", "--quiet", "origin", "HEAD:main", inside=clone)
    assert push(first, bare).plan.done
    theirs = cloned(bare, tmp_path / "theirs", FIRST)
    assert (theirs / "demo.mp4").read_bytes() == b"V" * 5000
    assert (theirs / "model.safetensors").read_bytes()[:7] != b"version"


def test_filters_hooks_and_submodules_of_the_remote_have_no_say(
    first: Run, bare: Path, tmp_path: Path
) -> None:
    """Its attributes name a filter that the user has; what is sent must not pass through it."""
    with (tmp_path / "gitconfig").open("a") as config:
        touch = f"touch {tmp_path}/ran; cat"
        config.write(f'[filter "x"]\n\tclean = {touch}\n\tsmudge = {touch}\n\trequired = true\n')
    planted(bare, tmp_path / "work", {
        ".gitattributes": ("100644", b"* filter=x text eol=crlf\n"),
        ".gitmodules": ("100644", b'[submodule "m"]\n\tpath = m\n\turl = ext::touch ran\n'),
        "m": ("160000", b"1" * 40),
        ".githooks/pre-commit": ("100755", b"#!/bin/sh\ntouch ran\n"),
    })  # fmt: skip
    push(first, bare)
    assert not list(tmp_path.rglob("ran"))
    card = run_git("cat-file", "blob", f"{FIRST}:README.md", inside=bare)
    assert "\r" not in card


@pytest.mark.parametrize("content", [b"[lfs]\n\turl = https://x.example\n", b"[include]\npath=x"])
def test_large_files_go_to_no_server_that_the_remotes_files_name(
    first: Run, bare: Path, tmp_path: Path, content: bytes
) -> None:
    planted(bare, tmp_path / "work", {".lfsconfig": ("100644", content)})
    with pytest.raises(DataError, match=r"\.lfsconfig names another server"):
        push(first, bare)


def test_a_text_of_the_remote_that_is_too_large_is_not_read(
    first: Run, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "_MAX_TEXT", 1000)
    planted(bare, tmp_path / "work", {"CHANGELOG.md": ("100644", b"#" * 1001)})
    with pytest.raises(DataError, match=r"CHANGELOG\.md has 1,001 bytes"):
        push(first, bare)


def test_a_tag_that_is_no_commit_is_passed_over(first: Run, bare: Path, tmp_path: Path) -> None:
    planted(bare, tmp_path / "work", {"x": ("100644", b"x")})
    run_git("tag", "blob", "HEAD:x", inside=bare)
    run_git("tag", "--annotate", "--message", "m", "noted", "HEAD", inside=bare)
    wide = "v1\u3000初版\u2028\x85"
    run_git("tag", wide, inside=bare)
    push(first, bare)
    with git.GitRemote(f"file://{bare}", tmp_path / "seen", QUIET) as remote:
        commits = remote.history(FIRST).commits
    noted = run_git("rev-parse", "noted^{commit}", inside=bare).strip()
    assert commits == {
        "noted": noted,
        wide: noted,
        FIRST: run_git("rev-parse", FIRST, inside=bare).strip(),
    }


@pytest.mark.parametrize(
    "text", ["# Changelog\n\n## Unreleased\n\n- x\n", "Changelog\n===\n\n### 2.0\n- mine\n"]
)
def test_a_changelog_that_is_not_ours_stays(
    first: Run, bare: Path, tmp_path: Path, text: str
) -> None:
    planted(bare, tmp_path / "work", {"CHANGELOG.md": ("100644", text.encode())})
    with pytest.raises(DataError, match="Rename it there"):
        push(first, bare)
    assert run_git("show", "main:CHANGELOG.md", inside=bare) == text


def test_checksums_that_are_not_ours_remove_nothing(first: Run, bare: Path, tmp_path: Path) -> None:
    sums = f"{'0' * 64}  survey.csv\n".encode()
    planted(bare, tmp_path / "work", {
        "SHA256SUMS": ("100644", sums), "survey.csv": ("100644", b"mine"),
    })  # fmt: skip
    assert push(first, bare).plan.removed == ()
    assert run_git("show", f"{FIRST}:survey.csv", inside=bare) == "mine"


@pytest.mark.parametrize(
    ("branch", "other"),
    [
        ("main", "refs/tags/main"),
        ("main", "refs/tags/heads/main"),
        ("main\u3000", "refs/heads/main"),
        ("main", "refs/heads/main\u2028"),
    ],
)
def test_the_default_branch_gets_the_release_whatever_has_a_name_like_it(
    first: Run, bare: Path, tmp_path: Path, branch: str, other: str
) -> None:
    planted(bare, tmp_path / "work", {"x": ("100644", b"x")})
    run_git("branch", "--move", "main", branch, inside=bare)
    run_git("update-ref", other, "HEAD", inside=bare)
    before = run_git("rev-parse", other, inside=bare).strip()
    commit = push(first, bare).commit
    form = "--format=%(objectname) %(refname)"
    assert set(run_git("for-each-ref", form, inside=bare).rstrip("\n").split("\n")) == {
        f"{commit} refs/heads/{branch}", f"{commit} refs/tags/{FIRST}", f"{before} {other}",
    }  # fmt: skip


def test_no_such_repository_is_told_with_how_to_make_one(first: Run, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="git init --bare"):
        push(first, tmp_path / "nowhere.git")


@pytest.mark.parametrize(("tool", "message"), [("git", "git is not"), ("git-lfs", "apt-get")])
def test_a_missing_tool_is_told_with_how_to_install_it(
    first: Run, bare: Path, monkeypatch: pytest.MonkeyPatch, tool: str, message: str
) -> None:
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else found(name))
    with pytest.raises(UsageError, match=message):
        push(first, bare)


def test_without_a_name_to_commit_by(
    first: Run, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"git config --global user\.name"):
        push(first, bare)


def test_git_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/window")
    given = git.environment()
    assert given["GIT_TERMINAL_PROMPT"] == "0"
    assert "BatchMode=yes" in given["GIT_SSH_COMMAND"]
    assert "GIT_DIR" not in given
    assert "SSH_ASKPASS" not in given


@pytest.mark.parametrize("place", ["GIT_SSH_COMMAND", "GIT_SSH", "core.sshCommand"])
def test_the_users_own_ssh_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    given = "own-ssh" if place == "GIT_SSH_COMMAND" else None
    if place == "core.sshCommand":
        (tmp_path / "gitconfig").write_text("[core]\n\tsshCommand = own-ssh\n")
    else:
        monkeypatch.setenv(place, "own-ssh")
    assert git.environment().get("GIT_SSH_COMMAND") == given


def test_a_run_that_is_not_finished_is_refused(first: Run, bare: Path, tmp_path: Path) -> None:
    recipe, run = first
    copied = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "run")))
    (copied.release / "manifest.json").unlink()
    with pytest.raises(UsageError, match="not finished"):
        push((recipe, copied), bare)
    shutil.copy(run.release / "manifest.json", copied.release)
    (copied.release / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        push((recipe, copied), bare)
