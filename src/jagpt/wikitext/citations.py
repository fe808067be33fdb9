"""Citations as a reader sees them: 著者『書名』出版社〈叢書〉、2001年、10頁。

Two forms as on Japanese Wikipedia: that of Japanese books ({{Cite book|和書}} and kin) and that of
others. Identifiers, URLs and access dates are left out: they are apparatus, not text.
"""

import re

from jagpt.wikitext.dates import date_of_text
from jagpt.wikitext.templates import Arguments, Rule

_PERIODICALS = ("journal", "magazine", "newspaper", "periodical", "work", "website")
_EDITED = re.compile(r"[編著撰]$|編集|編纂|監修|校訂|校注")
_YEAR_ALONE = re.compile(r"^([0-9]+)年$")
_ENDED = re.compile(r"[。.．!?！？]$")


def citation(name: str) -> Rule:
    """The rule for the citation template of that name."""
    web = "web" in name.lower()

    def render(arguments: Arguments) -> str:
        if not _first(arguments, "title", "chapter", "contribution", "encyclopedia"):
            return ""
        japanese = "和書" in arguments.values() or arguments.get("language") == "ja-jp"
        return _japanese(arguments) if japanese and not web else _western(arguments)

    return render


def _first(arguments: Arguments, *names: str) -> str:
    return next((arguments[name] for name in names if arguments.get(name)), "")


def _japanese(arguments: Arguments) -> str:
    """著者『書名』1巻、訳者訳、出版社〈叢書〉、2001年。 or 著者「論文」『雑誌』第1巻第2号、…"""
    title, authors = _first(arguments, "title"), "、".join(_authors(arguments))
    chapter = _first(arguments, "chapter", "contribution")
    periodical = _first(arguments, *_PERIODICALS)
    editor = _editor(arguments)
    if periodical:
        head, volume = f"「{title}」『{periodical}』", _issue(arguments)
    else:
        head, volume = f"『{title}』" if title else "", _volume(arguments)
        head = f"「{chapter}」{head}" if chapter else head
    series, publisher = _first(arguments, "series"), _first(arguments, "publisher")
    details = [
        volume,
        editor if authors else "",
        _with_suffix(_first(arguments, "translator"), "訳"),
        _with_suffix(_first(arguments, "edition"), "版"),
        publisher + (f"〈{series}〉" if series else ""),
        _first(arguments, "location", "place"),
        _date(arguments),
        _with_suffix(_first(arguments, "pages", "page"), "頁"),
    ]
    return _ended(f"{authors or editor}{head}{'、'.join(filter(None, details))}", "。")


def _western(arguments: Arguments) -> str:
    """Author (2001). Title. Publisher. — and “Title”. Work. Publisher (2001) without an author."""
    authors = "; ".join(_authors(arguments))
    date = _YEAR_ALONE.sub(r"\1", _date(arguments))
    title, chapter = _first(arguments, "title"), _first(arguments, "chapter", "contribution")
    work = _first(arguments, *_PERIODICALS, "encyclopedia")
    publisher, place = _first(arguments, "publisher"), _first(arguments, "location", "place")
    if publisher and place and not work:
        publisher = f"{place}: {publisher}"
    volume, issue = _first(arguments, "volume"), _first(arguments, "issue", "number")
    pages = _first(arguments, "pages", "page")
    dated = f"({date})" if date else ""
    parts = [
        f"{authors} {dated}".strip() if authors else "",
        f"“{chapter}”" if chapter and not work else "",
        f"“{title}”" if work or not (authors or chapter or pages) else title,
        " ".join(filter(None, [work, volume, f"({issue})" if issue else ""])),
        publisher if authors else f"{publisher} {dated}".strip(),
        f"pp. {pages}" if pages else "",
    ]
    return " ".join(_ended(part, ".") for part in parts if part)


def _authors(arguments: Arguments) -> list[str]:
    found: list[str] = []
    for number in ("", *map(str, range(1, 10))):
        last = _first(arguments, f"last{number}", f"surname{number}")
        first = _first(arguments, f"first{number}", f"given{number}")
        author = _first(arguments, f"author{number}") or ", ".join(filter(None, [last, first]))
        if author and author not in found:
            found.append(author)
    more = _first(arguments, "authors"), _first(arguments, "coauthors", "coauthor")
    return [*found, *filter(None, more)]


def _editor(arguments: Arguments) -> str:
    editor = _first(arguments, "editor", "editor1", "editors") or ", ".join(
        filter(None, map(arguments.get, ("editor-last", "editor-first")))
    )
    return editor if _EDITED.search(editor) else _with_suffix(editor, "編")


def _with_suffix(text: str, suffix: str) -> str:
    """`text` with 訳, 版 or 頁; a bare edition number becomes an ordinal."""
    if not text or text.endswith(suffix) or (suffix == "頁" and not text[-1].isdecimal()):
        return text
    if suffix == "版":
        return f"第{text}版" if text.isdecimal() else text
    return text + suffix


def _volume(arguments: Arguments) -> str:
    volume = _first(arguments, "volume")
    return f" {volume}{'巻' if volume.isdecimal() else ''}" if volume else ""


def _issue(arguments: Arguments) -> str:
    volume, issue = _first(arguments, "volume"), _first(arguments, "issue", "number")
    return (f"第{volume}巻" if volume.isdecimal() else volume) + (
        f"第{issue}号" if issue.isdecimal() else issue
    )


def _date(arguments: Arguments) -> str:
    written = _first(arguments, "date", "publication-date")
    if written:
        return date_of_text(written)
    year, month = arguments.get("year", ""), arguments.get("month", "").removesuffix("月")
    dated = date_of_text(year)
    return f"{dated}{month}月" if dated.endswith("年") and month.isdecimal() else dated


def _ended(text: str, stop: str) -> str:
    return text if _ENDED.search(text) else text + stop
