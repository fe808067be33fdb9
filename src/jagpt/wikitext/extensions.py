"""Comments and extension tags: whatever MediaWiki does not read as wikitext.

Comments, footnotes, galleries and the like are left out; nowiki text and formulas are kept verbatim
until the end (`KeptPieces`), so that no later step mistakes them for markup.
"""

import re

from jagpt.wikitext.entities import decode_entities
from jagpt.wikitext.markdown import code_block
from jagpt.wikitext.marks import GAP, KEPT, KEPT_END
from jagpt.wikitext.options import DEFAULT, expands_beyond

_DROPPED = (
    "ref|references|gallery|timeline|imagemap|score|graph|mapframe|maplink|templatedata|templatestyles|inputbox"
    "|categorytree|hiero|indicator|includeonly|syntaxhighlight|source|phonos|section|dynamicpagelist|charinsert"
)
# As in MediaWiki, the first > ends a tag, even one between quotes.
_OPENER = re.compile(
    rf"<(?:!--|/?({_DROPPED}|nowiki|pre|math|chem|ce)(?=[\s/>])([^>]*+)>)", re.IGNORECASE
)
_CLOSERS = {
    name: re.compile(rf"</{name}\s*+>", re.IGNORECASE)
    for name in [*_DROPPED.split("|"), "nowiki", "pre", "math", "chem", "ce"]
}
_WITHOUT_GAP = frozenset({"templatestyles", "section", "indicator", "includeonly", "templatedata"})
_INLINE_CODE = re.compile(r"\binline\b|\benclose\s*=\s*[\"']?\s*none\b", re.IGNORECASE)
_LANGUAGE = re.compile(r"\blang\s*=\s*[\"']?([A-Za-z0-9+#-]{1,20})")
_DISPLAYED = re.compile(r"\bdisplay\s*=\s*[\"']?block\b")
_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(f"{KEPT}([0-9]{{1,9}}){KEPT_END}")


class KeptPieces:
    """Text kept under a number; what is put back has at most `limit` characters at a time."""

    def __init__(self, limit: int = DEFAULT.max_characters) -> None:
        self.pieces: list[str] = []
        self._limit = limit

    def keep(self, text: str) -> str:
        """The mark that stands for `text` from now on."""
        self.pieces.append(self.restore(text))
        return f"{KEPT}{len(self.pieces) - 1}{KEPT_END}"

    def restore(self, text: str) -> str:
        """`text` with every mark replaced by its piece.

        Raises WikitextLimitError when the pieces have more than `limit` characters.
        """
        if KEPT not in text:
            return text
        parts = _NUMBER.split(text)
        parts[1::2] = ["".join(self.pieces[int(n) : int(n) + 1]) for n in parts[1::2]]
        if sum(map(len, parts[1::2])) > self._limit:
            raise expands_beyond(self._limit)
        return "".join(parts)


def remove_extensions(text: str, kept: KeptPieces, *, math: bool, markdown: bool = False) -> str:
    """`text` without comments and extension tags; linear, since no missing closer is searched for
    twice.
    """
    out: list[str] = []
    position = 0
    unclosed: set[str] = set()
    last = text.rfind(">") + 1  # beyond it no tag ends, and none is searched for
    for match in _OPENER.finditer(text, 0, last):
        start = match.start()
        if start < position:
            continue
        out.append(text[position:start])
        name, attributes = match.group(1, 2)
        position = match.end()
        if name is None:
            end = text.find("-->", position)
            if end < 0:
                return "".join(out)
            position = end + 3
            continue
        name = name.lower()
        if text[start + 1] == "/" or name in unclosed:
            continue
        if attributes.endswith("/"):
            out.append("" if name in _WITHOUT_GAP or name == "nowiki" else GAP)
            continue
        closer = _CLOSERS[name].search(text, position)
        if closer is None:
            unclosed.add(name)
            continue
        content = text[position : closer.start()]
        out.append(replace_extension(name, attributes, content, kept, math=math, markdown=markdown))
        position = closer.end()
    comment = text.find("<!--", max(position, last))
    if not position and comment < 0:
        return text
    out.append(text[position : comment if comment >= 0 else None])
    return "".join(out)


def replace_extension(
    name: str,
    attributes: str,
    content: str,
    kept: KeptPieces,
    *,
    math: bool,
    markdown: bool = False,
) -> str:
    """The visible text of an extension tag; `name` is in lower case."""
    if name == "nowiki":
        return kept.keep(_SPACE.sub(" ", decode_entities(content))) if content else ""
    if name == "pre":
        code = decode_entities(_without_nowiki(content))
        return f"\n{kept.keep(code_block(code) if markdown else code.strip())}\n"
    if name in ("syntaxhighlight", "source"):
        return _code(attributes, content, kept, markdown=markdown)
    if name in ("math", "chem", "ce"):
        formula = latex(content, chemistry=name != "math") if math else ""
        if formula and markdown and _DISPLAYED.search(attributes):
            return f"\n{kept.keep(f'${formula}$')}\n"
        return kept.keep(formula) if formula else GAP
    if name not in _CLOSERS:
        return content
    return "" if name in _WITHOUT_GAP else GAP


def _code(attributes: str, content: str, kept: KeptPieces, *, markdown: bool) -> str:
    """Code within a sentence stays; a code block is not text, but Markdown can show it."""
    if _INLINE_CODE.search(attributes):
        return kept.keep(f"`{content}`" if markdown and "`" not in content else content)
    if not markdown:
        return GAP
    language = _LANGUAGE.search(attributes)
    return f"\n{kept.keep(code_block(content, language[1] if language else ''))}\n"


def _without_nowiki(text: str) -> str:
    return text.replace("<nowiki>", "").replace("</nowiki>", "")


def latex(content: str, *, chemistry: bool = False) -> str:
    """A formula between dollar signs, on one line.

    Braces are spaced and primes spelled out, which TeX prints the same, so that no formula looks
    like a leftover template (``}}``), table (``{|``) or italics (``''``).
    """
    formula = " ".join(decode_entities(content).split())
    if not formula:
        return ""
    if chemistry:
        formula = rf"\ce{{{formula}}}"
    formula = re.sub(r"''+", lambda m: r"^{" + r"\prime" * len(m[0]) + "}", formula)
    formula = re.sub(r"([{}])(?=\1)", r"\1 ", formula)
    formula = (
        formula.replace("{|", "{ |").replace("|}", "| }").replace("[[", "[ [").replace("]]", "] ]")
    )
    return f"${formula}$"
