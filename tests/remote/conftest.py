"""A server that speaks S3, and a bucket for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from remote.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server as this process's S3."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The place of a new bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.make_bucket(name)
    return f"s3://{name}/runs/tiny"
