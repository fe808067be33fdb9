"""Where a release goes: what `--to` says."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from jagpt.errors import UsageError
from jagpt.release.secrets import redacted

Kind = Literal["git", "hub", "hub-dataset"]
FORMS = "git:URL, hub:ORG/NAME or hub-dataset:ORG/NAME"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_SSH = re.compile(r"([A-Za-z0-9._-]+@)?[A-Za-z0-9._-]{2,}:(?!//).+")
"""`git@example.org:a/b.git`, or a host of ssh's own configuration; one letter is a drive."""


@dataclass(frozen=True)
class Destination:
    """A remote: `place` is a git URL, or an id on the hub."""

    kind: Kind
    place: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"

    @property
    def is_dataset(self) -> bool:
        """Whether the corpus is published, not the model."""
        return self.kind == "hub-dataset"


def parse(text: str) -> Destination:
    """The destination that `--to` names; a path in `git:PATH` is relative to here.

    Raises `UsageError` for another form, and for an address that carries a password: it would be
    written to disk.
    """
    kind, _, place = text.partition(":")
    if kind == "git" and place:
        return Destination("git", _git_url(place))
    if kind in ("hub", "hub-dataset"):
        if not _HUB_ID.fullmatch(place) or "--" in place or ".." in place:
            raise UsageError(f"--to {redacted(text)}: expected an id such as {kind}:ORG/NAME")
        return Destination("hub" if kind == "hub" else "hub-dataset", place)
    raise UsageError(f"--to {redacted(text)}: expected {FORMS}")


def _git_url(place: str) -> str:
    if any(ord(character) < 32 for character in place) or place.startswith("-"):
        raise UsageError("--to git: not the address of a repository")
    if _SSH.fullmatch(place):
        return place
    if "://" not in place:
        return str(Path(os.path.expanduser(place)).absolute())  # noqa: PTH111 - no error for ~nobody
    try:
        address = urlsplit(place)
        secret = address.password is not None or (
            address.username is not None and address.scheme in ("http", "https")
        )
    except ValueError:
        raise UsageError("--to git: not the address of a repository") from None
    if secret:
        raise UsageError(
            f"--to git:{redacted(place)}: leave user and password out of the address: they would "
            "be written to disk. Use a git credential helper or ssh"
        )
    return place
