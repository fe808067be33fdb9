"""What is published: files under their names in the repository, listed before anything is sent."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from jagpt import files, units
from jagpt.manifests import FileEntry
from jagpt.release.changelog import parse

CARD = "README.md"
CHANGELOG = "CHANGELOG.md"
LFS_ATTRIBUTES = ".gitattributes"
CHECKSUMS = "SHA256SUMS"
MADE_ANEW = (CARD, CHANGELOG, LFS_ATTRIBUTES, CHECKSUMS)
"""Files that continue what their repository has."""

LFS_PATTERNS = (
    *("*.bin.*", "*.lfs.*", "*.bin", "*.h5", "*.tflite", "*.tar.gz", "*.ot", "*.onnx", "*.arrow"),
    *("*.ftz", "*.joblib", "*.model", "*.msgpack", "*.pb", "*.pt", "*.pth"),
    *("*.safetensors", "*.gguf", "*.onnx_data", "*.onnx.data", "*.parquet", "*.png"),
)
"""Files that a remote keeps in Git LFS: the original's list, and the formats that came since. The
hub takes no binary file outside it."""

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
"""What git itself stores for a file in LFS (git-lfs, docs/spec.md)."""

_LFS = "filter=lfs diff=lfs merge=lfs -text"
_AS_IT_IS = " !eol !ident !working-tree-encoding"
"""Ends the lines of `.gitattributes` that are for one file of the release."""

_SPECIAL = re.compile(r'[]["*?\\ \t]')
"""What stands for something else in a pattern of `.gitattributes`."""
_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class PublishedFile:
    """A local file, and what it becomes in the repository."""

    path: Path
    entry: FileEntry

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def in_lfs(self) -> bool:
        return in_lfs(self.name)

    def blob(self) -> str:
        """Hex SHA-1 by which git knows the file: of its content, or of its LFS pointer."""
        return blob_of(self.pointer() if self.in_lfs else self.path.read_bytes())

    def pointer(self) -> bytes:
        return POINTER.format(sha256=self.entry.sha256, size=self.entry.size).encode()


@dataclass(frozen=True)
class Publication:
    """A revision with all its files, ready to go."""

    revision: str
    title: str
    files: tuple[PublishedFile, ...]

    @property
    def size(self) -> int:
        return sum(file.entry.size for file in self.files)

    @property
    def message(self) -> str:
        """Of the commit."""
        return f"Release {self.revision}"


@dataclass(frozen=True)
class History:
    """What the repository already has.

    `commits` maps a tag to its commit; `attributes` is the `.gitattributes`, that of the revision
    if it is there already.
    """

    exists: bool = True
    changelog: str | None = None
    attributes: str | None = None
    commits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    checksums: str | None = None

    @property
    def released(self) -> frozenset[str]:
        """The names that earlier releases listed in their checksums, so that files no longer made
        are removed, and files that others added stay. Checksums without a changelog of jagpt's are
        not a release's.
        """
        return names_in(self.checksums) if self.changelog and parse(self.changelog) else frozenset()


@dataclass(frozen=True)
class PublicationPlan:
    """What publishing will do: printed first, done afterwards. `state` is that of the revision.

    new: it goes there now. done: the revision already has the same files.
    """

    where: str
    publication: Publication
    changed: frozenset[str]
    removed: tuple[str, ...]
    done: bool = False

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        publication = self.publication
        yield f"to:        {self.where}"
        yield f"revision:  {publication.revision}" + (" (published already)" if self.done else "")
        yield (
            f"files:     {len(publication.files)}, {units.size(publication.size)}; "
            f"{len(self.changed)} new or changed, {len(self.removed)} removed"
        )
        for file in publication.files:
            mark = "LFS" if file.in_lfs else ""
            state = "new or changed" if file.name in self.changed else "as it is there"
            yield f"  {file.entry.size:>15,}  {mark:<3}  {file.name}  ({state})"
        for name in self.removed:
            yield f"  {'':>15}       {name}  (removed)"


def in_lfs(name: str) -> bool:
    """Whether `.gitattributes` puts a file into LFS."""
    base = PurePosixPath(name).name
    return any(fnmatch.fnmatchcase(base, pattern) for pattern in LFS_PATTERNS)


def lfs_attributes() -> str:
    """The `.gitattributes` of a release: no clone changes the ends of lines."""
    return "* -text\n" + "".join(f"{pattern} {_LFS}\n" for pattern in LFS_PATTERNS)


def attributes(theirs: str | None, names: Collection[str]) -> str:
    """The `.gitattributes` of a repository that has one: what it says of other files stays.

    Git goes by the last line that matches. So its own lines stand below the release's, and each of
    the release's files (`names`) that one of them concerns has its own line below these.
    """
    ours = lfs_attributes().splitlines()
    found = [line.strip(" \t\r") for line in (theirs or "").removeprefix("\ufeff").split("\n")]
    others = [line for line in found if line not in ours and not line.endswith(_AS_IT_IS)]
    kept = [line for line in others if re.search(r"[ \t]", line)]  # one word says nothing of a file
    single = [
        f"/{_SPECIAL.sub('?', name)} {_LFS if in_lfs(name) else '!filter !diff !merge -text'}"
        + _AS_IT_IS
        for name in sorted(names)
        if any(_may_concern(line, name) for line in kept)
    ]
    return "".join(f"{line}\n" for line in [*ours, *kept, *single])


def _may_concern(line: str, name: str) -> bool:
    """Whether a line of `.gitattributes` is for a file; also true of some that are not."""
    pattern = re.split(r"[ \t]", line)[0]
    target = name if "/" in pattern else PurePosixPath(name).name
    wide = re.sub(r'["\[\\].*', "*", pattern.lstrip("/")).replace("**/", "*")
    return fnmatch.fnmatchcase(target.lower(), wide.lower())


def checksum_lines(entries: Iterator[FileEntry] | tuple[FileEntry, ...]) -> str:
    """Files as `sha256sum --check` reads them."""
    return "".join(f"{entry.sha256}  {entry.name}\n" for entry in entries)


def names_in(checksums: str | None) -> frozenset[str]:
    """The files that a `SHA256SUMS` lists."""
    found = (_CHECKSUM_LINE.fullmatch(line) for line in (checksums or "").splitlines())
    return frozenset(match[2] for match in found if match) | {CHECKSUMS}


def blob_of(content: bytes) -> str:
    """Hex SHA-1 by which git knows some content."""
    head = f"blob {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def measured(path: Path, name: str) -> PublishedFile:
    """A local file, under its name in the repository."""
    return PublishedFile(path, FileEntry(name, path.stat().st_size, files.sha256(path)))
