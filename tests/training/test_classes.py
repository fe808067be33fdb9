"""Causal classes of transformers, as docs/classes.md has them; all of them in `make nightly`."""

from __future__ import annotations

import os

import pytest
import transformers
import walk_classes

SAMPLE = ("bart", "dbrx", "gemma3", "gpt_bigcode", "mamba", "mixtral", "phi")
ALL = os.environ.get("JAGPT_CLASSES") == "all"


@pytest.mark.filterwarnings("ignore")  # classes warn of what their own defaults say
@pytest.mark.parametrize("kind", walk_classes.causal() if ALL else SAMPLE)
def test_a_class_trains_resumes_and_exports_or_is_refused(kind: str) -> None:
    walked = walk_classes.apart(kind) if ALL else walk_classes.walk(kind)
    assert walked.broken is None
    page = walk_classes.PAGE.read_text("utf-8")
    if f"transformers {transformers.__version__}, tried" in page:
        assert walked.row() in page.splitlines()


def test_the_page_has_every_class_of_its_version() -> None:
    page = walk_classes.PAGE.read_text("utf-8")
    if f"transformers {transformers.__version__}, tried" in page:
        assert all(f"\n| `{kind}` | " in page for kind in walk_classes.causal())
