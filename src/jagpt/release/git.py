"""Publishing to any git remote with LFS: a fresh clone, one commit, a push, a tag.

What stands in the remote's tree is data: it is never checked out. The commit is made in the index,
from blobs and pointers, so that no link, attribute, filter or submodule of the remote has a say.

Nothing is kept between two attempts: what counts stands at the remote, and large files that it has
are not sent again. So the same command continues wherever the previous one stopped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from jagpt import files
from jagpt.errors import DataError, StorageError, UsageError
from jagpt.progress import Progress
from jagpt.release.publication import (
    CHANGELOG,
    CHECKSUMS,
    LFS_ATTRIBUTES,
    History,
    Publication,
    PublicationPlan,
    PublishedFile,
)
from jagpt.release.secrets import redacted

INSTALL_LFS = (
    "git-lfs is not installed, and model files need it: `apt-get install git-lfs` (Debian, "
    "Ubuntu), `brew install git-lfs` (macOS), or see https://git-lfs.com"
)
INSTALL_GIT = "git is not installed: https://git-scm.com/downloads"

_NEVER_ASK = {
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "GIT_LFS_SKIP_SMUDGE": "1",  # only pointers of what is there already
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
}
_SETTINGS = (
    *("submodule.recurse=false", "push.recurseSubmodules=no", "push.followTags=false"),
    *("lfs.storage=lfs", f"core.hooksPath={os.devnull}"),  # hooks expect a tree, and may ask
)
_MAX_TEXT = 16 * 1024**2
"""Most bytes read of a text in the remote's tree."""
_FOREIGN = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"),
    *("GIT_COMMON_DIR", "GIT_PREFIX", "SSH_ASKPASS"),
)
"""Variables that would point to another repository, or open a prompt window."""


class GitRemote:
    """A remote repository, seen through a clone that exists as long as the `with` block.

    Raises `UsageError` if git or git-lfs is missing, `StorageError` if the remote cannot be
    reached or refuses.
    """

    def __init__(self, url: str, folder: Path, progress: Progress) -> None:
        self.url = url
        self._folder = folder
        self._clone = folder / "clone"
        self._progress = progress
        self._branch = "main"

    @property
    def place(self) -> str | None:
        """Git needs an address to clone from: a card can name none that all readers share."""
        return None

    def __enter__(self) -> Self:
        if shutil.which("git") is None:
            raise UsageError(INSTALL_GIT)
        if shutil.which("git-lfs") is None:
            raise UsageError(INSTALL_LFS)
        files.make_directory(self._folder)
        options = ("--quiet", "--no-checkout", "--origin", "origin")
        self._run("clone", *options, "--", self.url, str(self._clone), inside=False)
        head = self._git("symbolic-ref", "HEAD").rstrip("\n")
        self._branch = head.removeprefix("refs/heads/")  # `--short` would heed tags of its name
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        files.remove(self._clone)

    def history(self, revision: str) -> History:
        """Tags, changelog, attributes and checksums.

        `DataError` if the remote's files would have large files sent to another server.
        """
        head = self._head()
        if head is None and self._git("branch", "--remotes").strip():
            raise DataError(
                f"{redacted(self.url)}: its HEAD is a branch that does not exist "
                f"({self._branch}); set the default branch at the remote"
            )
        if re.search("url|include", self._text(".lfsconfig") or "", re.IGNORECASE):
            raise DataError(
                f"{redacted(self.url)}: its .lfsconfig names another server for large files, and "
                "jagpt does not send files to a server named inside a repository; delete it there"
            )
        commits = dict(self._tags())
        return History(
            exists=head is not None,
            changelog=self._text(CHANGELOG),
            attributes=self._text(LFS_ATTRIBUTES, commits.get(revision, "HEAD")),
            commits=commits,
            checksums=self._text(CHECKSUMS),
        )

    def plan(self, publication: Publication, history: History) -> PublicationPlan:
        """What a push would change; `UsageError` if the revision already has other files."""
        wanted = {file.name: file.blob() for file in publication.files}
        found = self._tree("HEAD") if history.exists else {}
        done = publication.revision in history.commits
        if done:
            found = self._tree(f"refs/tags/{publication.revision}")
        changed = frozenset(name for name, blob in wanted.items() if found.get(name) != blob)
        if done and changed:
            raise UsageError(tag_exists(publication.revision, redacted(self.url), changed))
        gone = sorted(
            ((history.released & found.keys()) - wanted.keys()) | _in_the_way(found, wanted)
        )
        where = redacted(self.url) + f", branch {self._branch}"
        return PublicationPlan(where, publication, changed, () if done else tuple(gone), done)

    def publish(self, publication: Publication, plan: PublicationPlan) -> str:
        """Commit what changed, push it, tag it; the commit's name."""
        large = self._commit(publication, plan) if plan.changed or plan.removed else []
        commit = self._git("rev-parse", "HEAD").strip()
        self._git("tag", "--no-sign", publication.revision)  # a signed one has a message to edit
        self._progress.say(f"release: sending to {redacted(self.url)}")
        if large:
            self._git("lfs", "push", "--object-id", "origin", *large)
        self._git("push", "--quiet", "origin", f"HEAD:refs/heads/{self._branch}")
        self._git("push", "--quiet", "origin", f"refs/tags/{publication.revision}")
        self._check(publication, commit)
        return commit

    def _commit(self, publication: Publication, plan: PublicationPlan) -> list[str]:
        """Commit on top of what is there; returns the hashes of its large files."""
        self._git("var", "GIT_COMMITTER_IDENT")
        if self._head() is not None:
            self._git("read-tree", "HEAD")
        changed = [file for file in publication.files if file.name in plan.changed]
        rows = [f"0 {'0' * 40}\t{name}" for name in plan.removed]
        rows += [f"100644 {self._stored(file)}\t{file.name}" for file in changed]
        self._git("update-index", "-z", "--index-info", given="\0".join(rows))
        self._git("commit", "--quiet", "--message", publication.message)
        return [file.entry.sha256 for file in changed if file.in_lfs]

    def _stored(self, file: PublishedFile) -> str:
        """Put a file where git, or git-lfs, looks for its content; the name of its blob."""
        if file.in_lfs:
            found, digest = files.sha256(file.path), file.entry.sha256
            target = self._clone / ".git/lfs/objects" / digest[:2] / digest[2:4] / digest
            if found == digest and not target.exists():  # two files may be the same
                files.make_directory(target.parent)
                link(file.path, target)
            blob = self._git("hash-object", "-w", "--stdin", given=file.pointer().decode()).strip()
            odd = found != digest or blob != file.blob()
        else:
            blob = self._git(
                "hash-object", "-w", "--no-filters", "--", str(file.path.resolve())
            ).strip()
            odd = blob != file.blob()
        if odd:
            raise DataError(
                f"{file.path}: changed while it was being sent; `jagpt verify RUN_DIR` lists "
                "everything"
            )
        return blob

    def _check(self, publication: Publication, commit: str) -> None:
        """Check that the remote now has what was sent."""
        answer = self._git("ls-remote", "origin")
        refs = {ref: name for name, _, ref in (row.partition("\t") for row in answer.split("\n"))}
        for ref in (f"refs/heads/{self._branch}", f"refs/tags/{publication.revision}"):
            if refs.get(ref) != commit:
                raise StorageError(
                    f"{redacted(self.url)}: accepted the push, but its {ref} is not {commit[:12]}; "
                    "run the same command again"
                )

    def _head(self) -> str | None:
        done = self._try("rev-parse", "--verify", "--quiet", "HEAD")
        return done.stdout.strip() if done.returncode == 0 else None

    def _tags(self) -> Iterator[tuple[str, str]]:
        """Each tag of a commit, and the commit."""
        fields = ("refname:strip=2", "objecttype", "objectname", "*objecttype", "*objectname")
        form = "--format=" + " ".join(f"%({field})" for field in fields)
        answer = self._git("for-each-ref", form, "refs/tags")
        for line in answer.split("\n"):  # a name may have other characters that break lines
            name, *rest = line.split(" ")
            for kind, commit in zip(rest[::2], rest[1::2], strict=True):
                if kind == "commit":
                    yield name, commit

    def _text(self, name: str, commit: str = "HEAD") -> str | None:
        """A text file of a commit, by default the last one; None if it is not there."""
        size = self._try("cat-file", "-s", f"{commit}:{name}")
        if size.returncode == 0 and int(size.stdout) > _MAX_TEXT:
            raise DataError(
                f"{redacted(self.url)}: its {name} has {int(size.stdout):,} bytes, and at most "
                f"{_MAX_TEXT:,} are read"
            )
        done = self._try("cat-file", "blob", f"{commit}:{name}")
        return done.stdout if done.returncode == 0 else None

    def _tree(self, commit: str) -> dict[str, str]:
        """File name → blob of a commit; a link or a submodule has its mode before it."""
        found = {}
        for line in self._git("ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
            head, tab, name = line.partition("\t")
            if tab:
                mode, _, blob = head.split()
                found[name] = blob if mode.startswith("100") else f"{mode} {blob}"
        return found

    def _git(self, *arguments: str, given: str = "") -> str:
        return self._run(*arguments, inside=True, given=given)

    def _run(self, *arguments: str, inside: bool, given: str = "") -> str:
        done = self._try(*arguments, inside=inside, given=given)
        if done.returncode == 0:
            return done.stdout
        raise self._refusal(arguments, done.stderr.strip() or done.stdout.strip())

    def _try(
        self, *arguments: str, inside: bool = True, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        place = ["-C", str(self._clone)] if inside else []
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        return subprocess.run(  # noqa: S603 - git with arguments of our own, and no shell
            ["git", *place, *settings, *arguments],  # noqa: S607 - the user's git, whichever it is
            env=environment(), input=given, capture_output=True, text=True,
            encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip

    def _refusal(self, arguments: tuple[str, ...], said: str) -> Exception:
        said = redacted(said)
        if "tell me who you are" in said or "empty ident" in said or "auto-detect" in said:
            return UsageError(
                "git has no author for the commit: `git config --global user.name NAME` and "
                "`git config --global user.email ADDRESS`, then run the same command again"
            )
        step = " ".join(arguments[:2]) if arguments[0] == "lfs" else arguments[0]
        lines = [line for line in said.splitlines() if line.strip()]
        shown = "\n  ".join(lines[-12:])
        advice = _advice(said)
        return StorageError(
            f"{redacted(self.url)}: `git {step}` failed; {advice}, then run the same command "
            f"again: it continues from what the remote has\n  {shown}"
        )


def environment() -> Mapping[str, str]:
    """The environment of git: no prompts, and messages in a language that we parse."""
    inherited = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    if inherited.keys() & {"GIT_SSH_COMMAND", "GIT_SSH"} or _configures_ssh(inherited):
        return {**inherited, **_NEVER_ASK}
    return {**inherited, **_NEVER_ASK, "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}


def _configures_ssh(inherited: Mapping[str, str]) -> bool:
    """Whether the user's own settings name an ssh, which `GIT_SSH_COMMAND` would replace."""
    ask = ("git", "-C", os.sep, "config", "--get", "core.sshCommand")
    return subprocess.run(ask, env=inherited, capture_output=True, check=False).returncode == 0  # noqa: S603


def tag_exists(revision: str, where: str, changed: frozenset[str]) -> str:
    """The message for a revision that already has other files."""
    shown = ", ".join(sorted(changed)[:3]) + (", …" if len(changed) > 3 else "")
    date, major, minor = revision.split(".")
    return (
        f"{where}: has a revision {revision} already, with other files ({shown}); a published "
        "revision is never changed. Give this one its own name, such as "
        f"--set release.revision={date}.{major}.{int(minor) + 1}"
    )


def link(source: Path, target: Path) -> None:
    """The file under another name; a copy where the disk allows no link."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _in_the_way(found: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Files of the tree where a folder is needed, and those below a name that has to be a file."""
    folders = {parent for name in wanted for parent in _above(name)}
    return {name for name in found if name in folders or not _above(name).isdisjoint(wanted)}


def _above(name: str) -> set[str]:
    return {parent.as_posix() for parent in PurePosixPath(name).parents}


def _advice(said: str) -> str:
    lowered = said.lower()
    if "could not read username" in lowered or "authentication failed" in lowered:
        return "set up a git credential helper or an ssh key for this address"
    if "permission denied" in lowered or "403" in lowered:
        return "check your write access"
    if any(word in lowered for word in ("does not exist", "not found", "does not appear to be")):
        return "check the address (`git init --bare PATH` makes an empty repository)"
    if "non-fast-forward" in lowered or "fetch first" in lowered:
        return "someone else has pushed in the meantime"
    return "see what git says below"
