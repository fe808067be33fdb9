"""Publishing to the Hugging Face hub: large files first, one commit, every checksum, then the tag.

Nothing is kept between two attempts: the hub does not take again what it has. So the same command
continues wherever the previous one stopped. The token is the hub library's own (`HF_TOKEN`, or
`hf auth login`); it goes into requests and nowhere else.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jagpt import __version__
from jagpt.errors import StorageError, UsageError
from jagpt.progress import Progress
from jagpt.release.destination import Destination
from jagpt.release.git import tag_exists
from jagpt.release.publication import (
    CHANGELOG,
    CHECKSUMS,
    LFS_ATTRIBUTES,
    History,
    Publication,
    PublicationPlan,
    PublishedFile,
    blob_of,
)
from jagpt.release.secrets import redacted
from jagpt.text import one_line, shortened

BRANCH = "main"
PATHS_A_REQUEST = 100

_REFUSALS = {
    401: "the token is missing or no longer valid: set HF_TOKEN, or `hf auth login`",
    403: "the token has no write access: use one that may write to that user or organization",
    404: "there is no such repository, or the token has no access to it",
    412: "someone else has changed the repository in the meantime",
    413: "the hub rejected a file as too large",
    429: "the hub is rate-limiting: wait a few minutes",
}


class HubRemote:
    """A repository on the hub, for a model or (`hub-dataset`) for a corpus.

    Raises `UsageError` if there is no token, or if a public repository was not asked for;
    `StorageError` if the hub cannot be reached, refuses or breaks off.
    """

    def __init__(self, destination: Destination, public: bool, progress: Progress) -> None:
        self._id = destination.place
        self._type = "dataset" if destination.is_dataset else "model"
        self._public = public
        self._progress = progress
        self._private: bool | None = None
        """About the existing repository; None if there is none."""
        self._head: str | None = None
        self._api: Any = None
        self._token: str | None = None

    @property
    def place(self) -> str | None:
        """The id that a reader loads by."""
        return self._id

    def __enter__(self) -> Self:
        from huggingface_hub import HfApi, get_token, utils

        if not self._progress.console.is_terminal:
            library: Any = utils
            library.disable_progress_bars()
        with self._guarded():
            self._token = get_token()
        if self._token is None:
            raise UsageError(
                f"publishing to {self._id} needs a token: set HF_TOKEN, or `hf auth login` "
                "(huggingface.co/settings/tokens)"
            )
        make: type[Any] = HfApi
        self._api = make(token=self._token, library_name="jagpt", library_version=__version__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing stays open."""

    def history(self, revision: str) -> History:
        """Tags, changelog, attributes and checksums."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with self._guarded(RepositoryNotFoundError):
                info = self._api.repo_info(self._id, repo_type=self._type)
                refs = self._api.list_repo_refs(self._id, repo_type=self._type)
        except RepositoryNotFoundError:
            return History(exists=False)
        self._private, self._head = bool(info.private), info.sha
        if not self._private and not self._public:
            raise UsageError(
                f"{self._id} is a public repository on the hub: add --public to publish there, or "
                "make it private in its settings"
            )
        commits = {tag.name: tag.target_commit for tag in refs.tags}
        return History(
            exists=self._head is not None,
            changelog=self._text(CHANGELOG),
            attributes=self._text(LFS_ATTRIBUTES, commits.get(revision)),
            commits=commits,
            checksums=self._text(CHECKSUMS),
        )

    def plan(self, publication: Publication, history: History) -> PublicationPlan:
        """What an upload would change; `UsageError` if the revision already has other files."""
        names = [file.name for file in publication.files]
        done = publication.revision in history.commits
        at = publication.revision if done else BRANCH
        found = self._found([*names, *history.released], at) if history.exists else {}
        changed = frozenset(
            file.name
            for file in publication.files
            if file.name not in found or not _same(file, found[file.name])
        )
        if done and changed:
            raise UsageError(tag_exists(publication.revision, self._id, changed))
        gone = () if done else tuple(sorted((history.released & found.keys()) - set(names)))
        return PublicationPlan(self._where(), publication, changed, gone, done)

    def publish(self, publication: Publication, plan: PublicationPlan) -> str:
        """Create the repository, upload, commit, compare checksums, tag; the commit's name."""
        with self._guarded():
            self._api.create_repo(
                self._id, private=not self._public, repo_type=self._type, exist_ok=True
            )
            commit = self._upload(publication, plan)
        self._verify(publication, commit)
        with self._guarded():
            self._api.create_tag(
                self._id, tag=publication.revision, revision=commit, repo_type=self._type,
                exist_ok=True,
            )  # fmt: skip
        return commit

    def _upload(self, publication: Publication, plan: PublicationPlan) -> str:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        if self._head and not plan.changed and not plan.removed:  # only the tag was missing
            return self._head
        make: type[Any] = CommitOperationAdd
        changed = [file for file in publication.files if file.name in plan.changed]
        additions = [make(path_in_repo=file.name, path_or_fileobj=file.path) for file in changed]
        size = sum(file.entry.size for file in changed)
        with self._progress.bar("upload", size, "bytes") as bar:
            for file, addition in zip(changed, additions, strict=True):
                self._api.preupload_lfs_files(
                    self._id, additions=[addition], repo_type=self._type, revision=BRANCH,
                    free_memory=False,
                )  # fmt: skip
                bar.advance(file.entry.size, file.name)
        removals = [CommitOperationDelete(path_in_repo=name) for name in plan.removed]
        info = self._api.create_commit(
            self._id,
            [*additions, *removals],
            commit_message=publication.message,
            repo_type=self._type,
            revision=BRANCH,
            parent_commit=self._head,
        )
        return str(info.oid)

    def _verify(self, publication: Publication, commit: str) -> None:
        """Check that every file on the hub is the local one."""
        found = self._found([file.name for file in publication.files], commit)
        odd = [
            file.name
            for file in publication.files
            if file.name not in found or not _same(file, found[file.name])
        ]
        if odd:
            raise StorageError(
                f"{self._id}: the hub's copy differs after the upload ({', '.join(odd[:5])}); the "
                "revision was not tagged; run the same command again"
            )

    def _found(self, names: Iterable[str], revision: str) -> dict[str, Any]:
        """Name → what the hub says about the file (`RepoFile`), for those that are there."""
        wanted = list(dict.fromkeys(names))
        found = {}
        with self._guarded():
            for start in range(0, len(wanted), PATHS_A_REQUEST):
                for info in self._api.get_paths_info(
                    self._id, wanted[start : start + PATHS_A_REQUEST], revision=revision,
                    repo_type=self._type,
                ):  # fmt: skip
                    if hasattr(info, "blob_id"):
                        found[info.path] = info
        return found

    def _text(self, name: str, commit: str | None = None) -> str | None:
        """A text file of a commit, by default the last one; None if it is not there."""
        from huggingface_hub.errors import RemoteEntryNotFoundError  # the hub's own "not there"

        if (at := commit or self._head) is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            try:
                with self._guarded(RemoteEntryNotFoundError):
                    path = self._api.hf_hub_download(
                        self._id, name, repo_type=self._type, revision=at, local_dir=folder
                    )
            except RemoteEntryNotFoundError:
                return None
            return Path(path).read_text("utf-8", errors="replace")

    def _where(self) -> str:
        kind = "data set" if self._type == "dataset" else "model"
        if self._private is None:
            state = "a new public one" if self._public else "a new private one"
        else:
            state = "a private one that exists" if self._private else "a public one that exists"
        path = f"datasets/{self._id}" if self._type == "dataset" else self._id
        return f"{redacted(self._api.endpoint)}/{path} ({kind} repository, {state})"

    @contextmanager
    def _guarded(self, *passed: type[BaseException]) -> Iterator[None]:
        """Turns errors inside the block into jagpt's own, without secrets; `passed` ones
        propagate.
        """
        from huggingface_hub.errors import HfHubHTTPError

        http_error: Any = HfHubHTTPError.__bases__[0]  # httpx's or httpx2's, as it has it
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
            for warning in caught:
                self._progress.say(redacted(f"hub: {warning.message}", self._token))
        except passed:
            raise
        except (http_error, OSError, RuntimeError, ValueError) as error:
            raise StorageError(self._refusal(error)) from None

    def _refusal(self, error: BaseException) -> str:
        chain = [error]
        while (cause := chain[-1].__cause__) is not None:
            chain.append(cause)
        status = next((code for link in chain if (code := _status(link))), None)
        said = shortened(redacted(one_line(str(chain[-1])), self._token), 300)
        advice = _REFUSALS.get(status or 0, "check the network")
        return (
            f"{self._id}: {said or type(chain[-1]).__name__}; {advice}, then run the same command "
            "again: what the hub already has is not sent again"
        )


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error that has one."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def _same(file: PublishedFile, info: Any) -> bool:
    """Whether the hub's file has the same content as ours, by SHA-256 in LFS and by git's blob hash
    otherwise.
    """
    if info.size != file.entry.size:
        return False
    if info.lfs is not None:
        return bool(info.lfs.sha256 == file.entry.sha256)
    return bool(info.blob_id == blob_of(file.path.read_bytes()))
