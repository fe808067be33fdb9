"""The tool that ranks unknown templates and proposes rules."""

from __future__ import annotations

import bz2
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "corpus"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import rank_templates
from dumps import export, page


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [
        "甲は{{謎の語|乙}}である。{{Reflist}}",
        "丙の{{謎の語|丁|date=2020}}は、{{謎の色|#fff|赤い字}}。\n{{謎の箱|名=x|年=1}}\n{{謎の一覧}}",
        "{{謎の列|\n* 甲\n* 乙\n}}\n{{Infobox|a={{謎の内}}}}<ref>{{謎の注}}</ref>",
        "{| class=x\n| {{謎の表}}\n|}\n* {{lang|en|{{謎の中|x}}}}\n== 脚注 ==\n{{謎の末|あ}}",
    ]
    path = tmp_path / "pages.jsonl"
    lines = [json.dumps({"title": str(n), "wikitext": text}) for n, text in enumerate(texts)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def ranking(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert rank_templates.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_templates_are_ranked_by_wounded_sentences_then_characters(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ranking(capsys, rows)
    table = [line.split(" | ") for line in out.splitlines() if line.startswith("| 謎")]
    assert [cells[0] for cells in table] == ["| 謎の語", "| 謎の色", "| 謎の中", "| 謎の列"]
    assert table[0][1:6] == ["2", "2", "28", "2", "`{1}`"]
    assert table[1][5] == "`{2}`"
    assert table[3][4:6] == ["0", "`list`"]
    assert "lost to 4 unknown templates" in out
    assert "4 sentences" in out


def test_rows_for_the_table_are_proposed(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ranking(capsys, rows, "--toml")
    assert '[[rendered]]\nformat = "{1}"\nnames = ["謎の語"]' in out
    assert '[[rendered]]\nformat = "{2}"\nnames = ["謎の色"]' in out
    assert '[[rendered]]\nfunction = "columns"\nnames = ["謎の列"]' in out


def test_aliases_come_from_the_redirects_of_the_dump(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [
        page(
            1, "#REDIRECT [[Template:Lang]]", title="Template:言葉", ns=10, redirect="Template:Lang"
        ),
        page(2, "#転送 [[Template:謎]]", title="Template:別の謎", ns=10, redirect="Template:謎"),
        page(3, "{{言葉|en|x}}は語。", title="記事"),
    ]
    dump = tmp_path / "dump.xml.bz2"
    dump.write_bytes(bz2.compress(export(pages)))
    assert ranking(capsys, dump, "--aliases") == "Lang: 言葉\n"
    assert "| 言葉 | 1 | 1 |" in ranking(capsys, dump)


def test_a_missing_dump_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rank_templates.main([str(tmp_path / "none.xml.bz2")]) == 3
    assert capsys.readouterr().err.startswith("error: ")
