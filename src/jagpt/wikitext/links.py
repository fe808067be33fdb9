"""Links: to pages, files, categories, other wikis and the web."""

import re
from enum import Enum, auto

from jagpt.wikitext.entities import within_line
from jagpt.wikitext.marks import GAP
from jagpt.wikitext.options import Namespaces


class LinkKind(Enum):
    """What kind of target a link has, as far as the text is concerned."""

    PAGE = auto()
    FILE = auto()
    CATEGORY = auto()
    INTERLANGUAGE = auto()


# Splitting at a pattern with one group and joining again replaces each match by its group without
# a step in Python. Targets with a colon, which may be files, are the scanner's, and labels with an
# equals sign too, which must not name an argument of a template around them, and those that begin
# like a list item, which they are not.
_SIMPLE_LINK = re.compile(
    r"\[\[(?:[^\[\]{}|:\n]*+\|)?+(?![*#:;])((?<=\|)[^\[\]{}|=\n]++|[^\[\]{}|=:\n]++)\]\]"
)
_SCHEME = (
    r"(?:(?:https?|ftps?|ircs?|git|gopher|mms|nntp|sftp|ssh|svn|telnet|worldwind|redis)://|//"
    r"|(?:mailto|news|tel|sms|urn|xmpp|sips?|geo|magnet|bitcoin|matrix):)"
)
_OPEN_URL = re.compile(rf"\[{_SCHEME}", re.IGNORECASE)
_LABELLED_URL = re.compile(
    rf"\[{_SCHEME}[^\s\[\]<>\"]++[ \t\u3000]*+((?:[^\[\]\n]++|\[(?!{_SCHEME}))*+)\]",
    re.IGNORECASE,
)
_BARE_URL = re.compile(r"(?:https?|ftp)://[A-Za-z0-9!#$%&'*+,\-./:;=?@_~()]++")
_FILE_OPTION = re.compile(
    r"(?:thumb|thumbnail|サムネイル|frame|framed|enframed|frameless|フレーム|フレームなし|border|境界|ボーダー"
    r"|left|right|center|centre|none|左|右|中央|なし|無し"
    r"|baseline|middle|sub|super|text-top|text-bottom|top|bottom"
    r"|ベースライン|中心|下付き|上付き|文上端|文下端|上端|下端"
    r"|(?:upright|右上)(?:[= ]\s*[0-9.]*+)?|[0-9x]+\s*(?:px|ピクセル)"
    r"|(?:alt|link|class|lang|page|thumb|start|end|thumbtime|代替文|リンク|ページ|サムネイル)\s*=.*)",
    re.IGNORECASE | re.DOTALL,
)


class Links:
    """Reads links using a wiki's namespaces."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._kinds = {
            **dict.fromkeys(map(str.lower, namespaces.interlanguage), LinkKind.INTERLANGUAGE),
            **dict.fromkeys(map(str.lower, namespaces.category), LinkKind.CATEGORY),
            **dict.fromkeys(map(str.lower, namespaces.file), LinkKind.FILE),
        }
        names = "|".join(map(re.escape, sorted(namespaces.category))) or "(?!)"
        self._category = re.compile(
            rf"\[\[[ \t]*+(?:{names})[ \t]*+:[ \t]*+([^\[\]{{}}|\n]*+)(?:\|[^\[\]\n]*+)?\]\]",
            re.IGNORECASE,
        )

    def take_categories(self, text: str) -> tuple[str, list[str]]:
        """`text` without its category links, and their names."""
        parts = self._category.split(text)
        return ("".join(parts[::2]), parts[1::2]) if len(parts) > 1 else (text, [])

    def kind(self, target: str) -> LinkKind:
        """The kind of a link to `target`; a leading colon makes it visible."""
        head, colon, _ = target.partition("|")[0].partition(":")
        if not colon:
            return LinkKind.PAGE
        return self._kinds.get(head.strip().replace("_", " ").lower(), LinkKind.PAGE)

    def category_name(self, body: str) -> str:
        return body.partition("|")[0].partition(":")[2].strip()

    def render(self, inner: str) -> str:
        """The visible text of a link with this text between its brackets."""
        target, bar, label = inner.partition("|")
        if "\n" in target:
            return inner
        if self.kind(inner) is LinkKind.FILE:
            caption = _caption(inner)
            return f"\n{within_line(caption)}\n" if caption else GAP
        if bar and label.strip():
            return label
        return target.strip().removeprefix(":").strip()


def resolve_simple_links(text: str) -> str:
    """`text` with each link without colon or nesting replaced by its visible text."""
    return "".join(_SIMPLE_LINK.split(text))


def resolve_urls(text: str) -> str:
    """`text` with [https://… label] replaced by its label; URLs themselves are left out."""
    if "[" in text:
        parts = _LABELLED_URL.split(text)
        if len(parts) > 1:
            parts[1::2] = [label.strip() or GAP for label in parts[1::2]]
            text = "".join(parts)
    return _BARE_URL.sub(GAP, text) if "//" in text else text


def ends_in_open_url(text: str) -> bool:
    """Whether the last line of `text` has a [https://… that is not closed."""
    start = max(text.rfind("\n"), text.rfind("]")) + 1
    return _OPEN_URL.search(text, start) is not None


def _caption(inner: str) -> str:
    """The last parameter that is not an option, as in MediaWiki."""
    parameters = map(str.strip, reversed(inner.split("|")[1:]))
    return next((text for text in parameters if not _FILE_OPTION.fullmatch(text)), "")
