from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jagpt.release.publication import attributes, in_lfs, lfs_attributes

LFS = "filter=lfs diff=lfs merge=lfs -text"
OURS = (
    *(".gitattributes", "README.md", "config.json", "model.safetensors", "onnx/model.onnx"),
    *("onnx/config.json", "[1] a?.json", "日本語.gguf"),
)
THEIRS = ("demo.mp4", "media/a b.mp4")


def attributes_in_git(text: str, folder: Path, *names: str) -> dict[str, dict[str, str]]:
    """Name → what git knows of the file by a `.gitattributes`."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / ".gitattributes").write_text(text, encoding="utf-8")
    said = subprocess.run(
        ["git", "-C", str(folder), "check-attr", "-z", "--stdin", "--all"],
        input="".join(f"{name}\0" for name in names), capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for name, key, value in zip(said[:-1:3], said[1::3], said[2::3], strict=True):
        found[name][key] = value
    return found


@pytest.mark.parametrize(
    "others",
    [
        f"*.mp4 {LFS}\n",
        f"\ufeff*.mp4 {LFS}\r\n",
        f"* text=auto eol=crlf ident working-tree-encoding=UTF-16\n*.mp4 {LFS}\n",
        f"# large\n\n* {LFS}\n",
        f"\t[attr]large {LFS}\n*.mp4 large\n*.json large\n*.safetensors -large -filter\n",
        f"media/**\t{LFS}\ndemo.mp4 {LFS}\nonnx/** -filter\n**/*.onnx -filter text\n",
        f'*.mp4 {LFS}\n"\\143onfig.json" {LFS}\n[c]onfig.json {LFS}\nREADM\\E.md {LFS}\n',
        f"*.mp4 {LFS}\nREADME.MD {LFS}\nonnx\\/config.json {LFS}\n*.gguf -filter\n",
    ],
)
def test_lines_of_others_hold_for_their_files_and_not_for_those_of_the_release(
    others: str, tmp_path: Path
) -> None:
    made = attributes(others, OURS)
    found = attributes_in_git(made, tmp_path, *OURS, *THEIRS)
    for name in OURS:
        kind = {"filter": "lfs", "diff": "lfs", "merge": "lfs"} if in_lfs(name) else {}
        of_git = {key: found[name].get(key) for key in ("filter", "diff", "merge", "text", "ident")}
        assert of_git == {"filter": None, "diff": None, "merge": None, "ident": None} | kind | {
            "text": "unset"
        }, name
        assert "working-tree-encoding" not in found[name]
    assert {found[name].get("filter") for name in THEIRS} == {"lfs"}
    assert attributes(made, OURS) == made


@pytest.mark.parametrize("others", [None, "", "model.safetensors\n/etc/passwd", lfs_attributes()])
def test_a_release_without_lines_of_others_has_its_own(others: str | None) -> None:
    assert attributes(others, OURS) == lfs_attributes()


def test_a_file_that_is_no_longer_released_has_no_line_left() -> None:
    others = f"*.json {LFS}\n"
    assert attributes(attributes(others, ["a.json"]), ["a.txt"]) == lfs_attributes() + others
