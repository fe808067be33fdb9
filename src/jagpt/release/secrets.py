"""Keeping secrets out of messages: those of git and the hub pass through here."""

from __future__ import annotations

import os
import re

_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")
_BEARER = re.compile(r"(?i)(bearer\s+|authorization:\s*\w+\s+)[^\s'\"]+")
_HUB_TOKEN = re.compile(r"\b(hf|api_org)_[A-Za-z0-9_]{8,}")
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "GIT_PASSWORD")
HIDDEN = "…"


def redacted(text: str, *secrets: str | None) -> str:
    """`text` without `secrets`, and without what looks like a password or a token."""
    for secret in (*secrets, *(os.environ.get(name) for name in _VARIABLES)):
        if secret and secret.strip():
            text = text.replace(secret.strip(), HIDDEN)
    text = _IN_ADDRESS.sub(f"{HIDDEN}@", text)
    text = _BEARER.sub(lambda found: found[1] + HIDDEN, text)
    return _HUB_TOKEN.sub(HIDDEN, text)
