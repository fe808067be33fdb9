"""The hub's endpoints on this machine, as huggingface_hub 2 calls them, with faults on request.

Repositories are kept in memory: commits are trees of path → content (large files by their SHA-256,
as in Git LFS). `allow` says how many changes (an upload, a commit, a tag, a new repository) are
still taken; then the connection is cut, before the answer to the last one where `lose_answer`, and
nothing is served until it is raised.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from jagpt.release.publication import POINTER, blob_of, in_lfs

TOKEN = "hf_TheTestsOwnSecret123456789"
ORGANIZATION = "org"


@dataclass(frozen=True)
class Large:
    """A file in LFS: its content lies among the repository's objects."""

    sha256: str
    size: int

    @property
    def pointer(self) -> bytes:
        return POINTER.format(sha256=self.sha256, size=self.size).encode()


Tree = dict[str, bytes | Large]


@dataclass
class Repository:
    private: bool
    commits: dict[str, Tree] = field(default_factory=dict)
    head: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def add(self, tree: Tree) -> str:
        name = blob_of(f"{self.head}{sorted(tree)}{len(self.commits)}".encode())
        self.commits[name], self.head = tree, name
        return name

    def commit(self, revision: str) -> str:
        return self.head if revision == "main" else self.tags.get(revision, revision)

    def tree(self, revision: str) -> Tree | None:
        return self.commits.get(self.commit(revision))


@dataclass
class Hub:
    """What the double holds and saw; `spoil` names a file whose stored content is damaged."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    tokens: dict[str, str | None] = field(default_factory=dict)
    allow: float = float("inf")
    lose_answer: bool = False
    refuse: tuple[int, str] | None = None
    spoil: str | None = None

    def down(self) -> bool:
        return self.allow <= 0

    def took(self, change: str) -> bool:
        """Count a change; whether its answer is to be lost."""
        self.changes.append(change)
        self.allow -= 1
        return self.down() and self.lose_answer


class Handler(BaseHTTPRequestHandler):
    """One request; the paths are those of `HfApi`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def handle_any(self) -> None:
        hub = self.server.hub
        address = urlsplit(self.path)
        path = unquote(address.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if hub.down():
            self.cut()
            return
        hub.requests.append((self.command, path))
        if not path.startswith("/objects/"):
            hub.tokens[path] = self.headers.get("Authorization")
        if hub.refuse and self.command in ("POST", "PUT"):
            self.answer({"error": hub.refuse[1]}, hub.refuse[0])
            return
        if not self.route(path, body):
            self.answer({"error": f"no such page {path}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - the names of the base class

    def cut(self) -> None:
        """Break the connection off without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def changed(self, change: str, value: Any) -> None:
        if self.server.hub.took(change):
            self.cut()
        else:
            self.answer(value)

    # --- pages ------------------------------------------------------------------------------------

    def route(self, path: str, body: bytes) -> bool:
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"warnings": [], "errors": []})
        elif found := re.fullmatch(r"/objects/(.+)/([0-9a-f]{64})", path):
            self.upload(found[1], found[2], body)
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self.batch(self.key(found[1], found[2]), json.loads(body))
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(self.key(found[1], found[2]), found[3], found[4])
        elif found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(.*))?", path):
            self.api(f"{found[1]}s/{found[2]}", found[2], (found[3] or "").split("/"), body)
        else:
            return False
        return True

    @staticmethod
    def key(kind: str | None, name: str) -> str:
        return f"{kind or 'models/'}{name}"

    def create(self, wanted: dict[str, Any]) -> None:
        hub = self.server.hub
        kind = wanted.get("type") or "model"
        name = f"{wanted.get('organization')}/{wanted['name']}"
        if wanted.get("organization") != ORGANIZATION:
            self.answer({"error": "You don't have the rights to create a model there"}, 403)
            return
        key = f"{kind}s/{name}"
        url = f"{hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if key in hub.repositories:
            self.answer({"error": "You already created this repo", "url": url}, 409)
            return
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        hub.repositories[key] = Repository(private)
        hub.repositories[key].add(
            {".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n"}
        )
        self.changed("create", {"url": url, "name": name})

    def repository(self, key: str) -> Repository | None:
        hub = self.server.hub
        found = hub.repositories.get(key)
        allowed = found and (not found.private or self.headers.get("Authorization"))
        if not allowed:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return None
        return found

    def api(self, key: str, name: str, rest: list[str], body: bytes) -> None:
        found = self.repository(key)
        if found is None:
            return
        what, revision = rest[0], rest[1] if len(rest) > 1 else "main"
        if what in ("", "revision"):
            sha = found.commit(revision)
            self.answer({"id": name, "sha": sha, "private": found.private, "tags": []})
        elif what == "refs":
            self.answer(self.refs(found))
        elif what == "preupload":
            self.preupload(found, json.loads(body))
        elif what == "commit":
            self.commit(found, key, body)
        elif what == "paths-info":
            self.paths_info(found, revision, parse_qs(body.decode())["paths"])
        elif what == "tree":
            self.paths_info(found, revision, list(found.tree(revision) or {}))
        elif what == "tag":
            self.tag(found, revision, json.loads(body))
        else:
            self.answer({"error": what}, 404)

    def refs(self, found: Repository) -> dict[str, Any]:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.head}
        tags = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": commit}
            for name, commit in found.tags.items()
        ]
        return {"branches": [main], "converts": [], "tags": tags}

    def preupload(self, found: Repository, wanted: dict[str, Any]) -> None:
        rows = []
        tree = found.commits[found.head]
        for file in wanted["files"]:
            there = tree.get(file["path"])
            row = {
                "path": file["path"],
                "uploadMode": "lfs" if in_lfs(file["path"]) else "regular",
                "shouldIgnore": False,
            }
            if there is not None:
                row["oid"] = there.sha256 if isinstance(there, Large) else blob_of(there)
            rows.append(row)
        self.answer({"files": rows})

    def batch(self, key: str, wanted: dict[str, Any]) -> None:
        found = self.repository(key)
        if found is None:
            return
        rows = []
        for item in wanted["objects"]:
            row = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in found.objects:
                href = f"{self.server.hub.endpoint}/objects/{key}/{item['oid']}"
                row["actions"] = {"upload": {"href": href}}
            rows.append(row)
        self.answer({"transfer": "basic", "objects": rows})

    def upload(self, key: str, sha256: str, body: bytes) -> None:
        hub = self.server.hub
        if hashlib.sha256(body).hexdigest() != sha256:
            self.answer({"error": "not what was announced"}, 400)
            return
        hub.repositories[key].objects[sha256] = body
        self.changed(f"upload {sha256}", {})

    def commit(self, found: Repository, key: str, body: bytes) -> None:
        hub = self.server.hub
        tree = dict(found.commits[found.head])
        for line in body.decode().splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "header":
                if value.get("parentCommit") not in (None, found.head):
                    self.answer({"error": "a newer commit"}, 412)
                    return
            elif row["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                assert value["oid"] in found.objects
                tree[value["path"]] = Large(value["oid"], value["size"])
            elif row["key"] == "deletedFile":
                del tree[value["path"]]
        if hub.spoil in tree:
            tree[hub.spoil] = b"spoilt"
        name = found.add(tree)
        self.changed("commit", {"commitUrl": f"{hub.endpoint}/{key}/commit/{name}",
                                "commitOid": name})  # fmt: skip

    def paths_info(self, found: Repository, revision: str, paths: list[str]) -> None:
        tree = found.tree(revision)
        if tree is None:
            self.answer({"error": "no such revision"}, 404, X_Error_Code="RevisionNotFound")
            return
        rows = []
        for path in paths:
            if (there := tree.get(path)) is None:
                continue
            row: dict[str, Any] = {"type": "file", "path": path}
            if isinstance(there, Large):
                row |= {"size": there.size, "oid": blob_of(there.pointer)}
                row["lfs"] = {"oid": there.sha256, "size": there.size, "pointerSize": 134}
            else:
                row |= {"size": len(there), "oid": blob_of(there)}
            rows.append(row)
        self.answer(rows)

    def tag(self, found: Repository, revision: str, wanted: dict[str, Any]) -> None:
        if wanted["tag"] in found.tags:
            self.answer({"error": "the tag exists"}, 409)
            return
        found.tags[wanted["tag"]] = found.head if revision == "main" else revision
        self.changed("tag", {})

    def resolve(self, key: str, revision: str, path: str) -> None:
        found = self.repository(key)
        if found is None:
            return
        there = (found.tree(revision) or {}).get(path)
        if there is None:
            self.answer({"error": "no such file"}, 404, X_Error_Code="EntryNotFound")
            return
        content = found.objects[there.sha256] if isinstance(there, Large) else there
        self.answer(content, ETag=f'"{blob_of(content)}"', X_Repo_Commit=revision)


class Server(ThreadingHTTPServer):
    """Serves one `Hub`; a client that goes away is no error."""

    daemon_threads = True
    hub: Hub

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exception(), OSError):
            raise


@contextmanager
def in_its_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The double where huggingface_hub looks for the hub."""
    import huggingface_hub.constants as hub_constants

    with serving() as hub:
        template = hub_constants.HUGGINGFACE_CO_URL_TEMPLATE
        template = template.replace(hub_constants.ENDPOINT, hub.endpoint)
        monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub_constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
        yield hub


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub with no repositories, until the block ends."""
    server = Server(("127.0.0.1", 0), Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
