"""Aozora Bunko's form: what the author wrote stays, what the typist added goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from jagpt.compressed import Reader
from jagpt.corpus.aozora import plain, read
from jagpt.corpus.text_files import read_documents

RULE = "-" * 55
WORK = f"""山の話
甲野乙

{RULE}
【テキスト中に現れる記号について】

《》：ルビ
（例）山《やま》
{RULE}

［＃７字下げ］一［＃「一」は中見出し］

　ある日の｜山小屋《やまごや》である。
　底本：のことは知らない。
［＃ここから２字下げ］
静か［＃「静か」に傍点］だった。
［＃ここで字下げ終わり］



底本：「全集　第一巻」
　　　1990（平成2）年
入力：丙
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("吾輩《わがはい》は猫である", "吾輩は猫である"),
        ("その｜東京府《とうきょうふ》では", "その東京府では"),
        ("終り［＃「終り」に傍点］、［＃改ページ］", "終り、"),
        ("※［＃「てへん＋劣」、第3水準1-84-77］る", "挘る"),
        ("※［＃「魚＋夫」、第4水準2-93-45］《ふ》", "鮲"),
        ("※［＃始め二重山括弧、1-1-52］甲※［＃終わり二重山括弧、1-1-53］", "《甲》"),
        ("※［＃「口＋亞」、U+554A、123-4］", "啊"),
        ("※［＃「さんずい＋甲」、123-4］", "〓"),
        ("※［＃「甲」、第3水準1-99-99］※［＃「乙」、U+0007］", "〓〓"),
        ("〔e'tude〕と〔Ko:ln〕と〔stras&e〕", "étudeとKölnとstraße"),
        ("〔AE&gir〕、〔Franc,ois〕", "Ægir、François"),
        ("〔編者の注〕", "〔編者の注〕"),
        ("don't: a^b ｜", "don't: a^b "),
    ],
)
def test_a_line_is_as_printed(line: str, expected: str) -> None:
    assert plain(line) == expected


def test_header_marks_and_colophon_are_left_out() -> None:
    title, text = read(WORK.replace("\n", "\r\n"))
    assert title == "山の話"
    assert text.split("\n") == [
        "一", "", "　ある日の山小屋である。", "　底本：のことは知らない。", "", "静かだった。",
    ]  # fmt: skip


def test_a_work_without_explanation_begins_after_its_first_blank_line() -> None:
    assert read("題《だい》\n著者\n\n本文。\n\n続き。\n") == ("題", "本文。\n\n続き。")
    assert read("本文だけ。\n") == ("本文だけ。", "本文だけ。")


def test_rules_between_scenes_are_no_header() -> None:
    scenes = f"一の章。\n{RULE}\n二の章《にのしょう》。\n{RULE}\n三の章。"
    assert read(f"題\n著者\n\n{scenes}\n") == ("題", scenes.replace("《にのしょう》", ""))
    (title, text) = read(WORK.replace("静か［", f"{RULE}\n静か［"))
    assert (title, text.split("\n")[0], text.count(RULE)) == ("山の話", "一", 1)


@pytest.mark.parametrize("words", ["【テキスト中に現れる記号について】", "《》：ルビ"])
def test_an_explanation_of_marks_is_known_by_its_heading_or_by_a_mark(words: str) -> None:
    assert read(f"題\n著者\n\n{RULE}\n{words}\n{RULE}\n\n本文。\n") == ("題", "本文。")


def test_a_file_of_windows_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "work.txt"
    path.write_bytes(WORK.replace("\n", "\r\n").encode("cp932"))
    (found,) = read_documents(Reader(path), "file", encoding="cp932", markup="aozora")
    assert (found.title, found.text[:4]) == ("山の話", "一\n\n　")
