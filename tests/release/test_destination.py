from __future__ import annotations

from pathlib import Path

import pytest

from jagpt.errors import UsageError
from jagpt.release.destination import Destination, parse
from jagpt.release.secrets import redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:org/name", Destination("hub", "org/name")),
        ("hub-dataset:org/na-me.2", Destination("hub-dataset", "org/na-me.2")),
        ("git:https://example.org/a/b.git", Destination("git", "https://example.org/a/b.git")),
        ("git:git@example.org:a/b.git", Destination("git", "git@example.org:a/b.git")),
        ("git:myhost:models/a.git", Destination("git", "myhost:models/a.git")),
        ("git:ssh://git@example.org/a", Destination("git", "ssh://git@example.org/a")),
        ("git:file:///srv/a.git", Destination("git", "file:///srv/a.git")),
        ("git:a.git", Destination("git", str(Path("a.git").absolute()))),
        ("git:~/a.git", Destination("git", str(Path.home() / "a.git"))),
        (
            "git:~nobody-of-this-name/a",
            Destination("git", str(Path("~nobody-of-this-name/a").absolute())),
        ),
    ],
)
def test_reads_where_a_release_goes(text: str, expected: Destination) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "hub", "hub:", "hub:name", "hub:a/b/c", "hub:a/../b", "hub:-a/b", "git:", "git:-uX",
        "git:--upload-pack=x", "git:a\nb", "ftp:x", "hub-data:a/b", "https://example.org/a",
    ],
)  # fmt: skip
def test_refuses_what_is_no_destination(text: str) -> None:
    with pytest.raises(UsageError, match=r"--to"):
        parse(text)


@pytest.mark.parametrize(
    "address", ["https://me:hidden1@example.org/a", "https://hidden1@example.org/a"]
)
def test_an_address_with_a_password_is_refused_without_saying_it(address: str) -> None:
    with pytest.raises(UsageError, match="leave user and password out") as caught:
        parse(f"git:{address}")
    assert "hidden1" not in str(caught.value)


def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "plain-secret")
    said = (
        "plain-secret; https://me:pw@example.org/x; Authorization: Basic bTpw; "
        "Bearer abc.def; hf_AbCdEfGhIjKl; other-one"
    )
    shown = redacted(said, "other-one")
    for secret in ("plain-secret", "pw@", "bTpw", "abc.def", "AbCdEfGhIjKl", "other-one"):
        assert secret not in shown
    assert "example.org/x" in shown
