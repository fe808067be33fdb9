"""Inline markup, HTML tags and list markers: what is left once brackets are resolved."""

import re

from jagpt.wikitext.links import resolve_urls
from jagpt.wikitext.marks import BREAK, HEADING, LINE
from jagpt.wikitext.quotes import remove_quotes
from jagpt.wikitext.scripts import resolve_scripts
from jagpt.wikitext.tables import resolve_loose_tables

# MediaWiki's own switches and their names in Japanese, German, Korean and Chinese; others are text,
# such as Python's __index__: only the first nine may be in lower case.
_BEHAVIOUR = re.compile(
    r"__(?:(?i:NOTOC|FORCETOC|TOC|NOEDITSECTION|NOGALLERY|NOCONTENTCONVERT|NOCC|NOTITLECONVERT|NOTC)"
    r"|NEWSECTIONLINK|NONEWSECTIONLINK|HIDDENCAT|EXPECTUNUSEDCATEGORY|EXPECTUNUSEDTEMPLATE|INDEX"
    r"|NOINDEX|STATICREDIRECT|NOGLOBAL|DISAMBIG|ARCHIVEDTALK|NOTALK|EXPECTWITHOUTSCANS|目次非表示"
    r"|目次なし|目次強制|目次|節編集非表示|節編集なし|新しい節リンク|新しい節リンク非表示|ギャラリー非表示"
    r"|カテゴリ非表示|隠しカテゴリ|インデックス|検索可能|索引|インデックス拒否|検索除外|索引なし|二重転送解消無効"
    r"|KEIN_INHALTSVERZEICHNIS|KEININHALTSVERZEICHNIS|INHALTSVERZEICHNIS_ERZWINGEN|INHALTSVERZEICHNIS"
    r"|ABSCHNITTE_NICHT_BEARBEITEN|목차숨김|목차없음|목차보임|목차표시|목차|부분편집숨김|단락편집숨김|無目錄"
    r"|无目录|強制目錄|强显目录|強顯目錄|目錄|目录|無段落編輯|不显示编辑链接)__"
)
_SIGNATURE = re.compile(r"~~~~?~?")
_VARIANT = re.compile(r"-\{([^{}]*+)\}-")
_VARIANT_CODE = re.compile(r"[A-Z+-]|[a-z]{2,3}(?:-[A-Za-z]+)*")
# Braces of a chemical's name, N-{4-[(2R)-x]フェニル}-L-グルタミン酸, are no variant.
_NAME_BEFORE = re.compile(r"[0-9A-Za-z)\]}'′]")
_NAME_AFTER = re.compile(r"[0-9A-Za-z(\[{]")
_LOCANT = re.compile(r"[0-9]['′]*+[-,]|\[")

_BR = re.compile(r"</?br\b[^<>]*+>", re.IGNORECASE)
# A line may not begin with what belongs to the previous line.
_BREAK_IN_SENTENCE = re.compile(rf"{BREAK}\s*+(?=[、。，．）」』】〉》]|[はがの]、)")
_RUBY_FENCE = re.compile(r"<rp\b[^<>]*+>[^<>]*+</rp\s*+>", re.IGNORECASE)
_RUBY_TEXT = re.compile(r"<rt\b[^<>]*+>([^<>]++)(?:</rt\s*+>)?", re.IGNORECASE)
_BLOCK_TAG = re.compile(
    r"</?(?:div|p|center|blockquote|poem|table|caption|thead|tbody|tfoot|tr|td|th|ul|ol|li|dl|dt|dd|hr|h[1-6]|article"
    r"|aside|figure|header|footer)(?=[\s/>])[^<>]*+>",
    re.IGNORECASE,
)
_INLINE_TAG = re.compile(
    r"</?(?:span|small|big|b|i|u|s|strike|del|ins|font|code|tt|kbd|samp|var|cite|em|strong|abbr|bdi|bdo|q|dfn"
    r"|mark|time|data|wbr|ruby|rb|rbc|nowiki|noinclude|onlyinclude|includeonly|ref|references|section|pre"
    r"|math|chem|ce|gallery|nobr|a|img|blink|acronym|label|title|main|translate|source|syntaxhighlight|score|timeline"
    r"|imagemap|templatestyles|graph|mapframe|maplink)(?=[\s/>])[^<>]*+>",
    re.IGNORECASE,
)
_UNPAIRED_TAG = re.compile(r"</?(?:sub|sup|rt|rtc|rp)(?=[\s/>])[^<>]*+>", re.IGNORECASE)

# A single line break inside a paragraph is shown as a space, which Japanese does without.
_SENTENCE_GOES_ON = re.compile(rf"、\n(?=[^\s*#:;=|!{{}}<{HEADING}])")
_ORPHANED_STOP = re.compile(r"\n(?=[、。，．）」』])")
# Tags that are gone before MediaWiki looks at lines; before all others nothing begins a list.
_TRANSCLUSION_TAG = re.compile(r"</?(?:noinclude|onlyinclude)(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_LIST_MARKER = re.compile(r"\n([*#:;]++)")
_MARKER = rf"{LINE}[*#:;]++{LINE}"
_MARKED = re.compile(rf"{_MARKER}[ \t\u3000]*+")
_MARKED_KEPT = re.compile(rf"(?:(?<=\n)({_MARKER})|{_MARKER})[ \t\u3000]*+")
_CODE = re.compile(r"<code\b[^<>]*+>([^<>\n`]++)</code\s*+>", re.IGNORECASE)
_DEFINITION = re.compile(rf"(\n{LINE};++{LINE}[^\n:]*+):")
_RULE = re.compile(r"\n-----*+")
_STRAYS = ("{{", "}}", "[[", "]]", "{|", "|}")


def resolve_inline(text: str, *, tables: bool = False, markdown: bool = False) -> tuple[str, int]:
    """`text` without markup inside lines and at their start, and the number of its list items.

    `text` begins with a newline, so that its first line is like any other.
    """
    text = resolve_loose_tables(text, tables=tables, markdown=markdown)
    if "、\n" in text and "<poem" not in text:
        text = _SENTENCE_GOES_ON.sub("、", text)
    if "_" in text and "__" in text:  # searching for one character is much faster than for two
        text = _BEHAVIOUR.sub("", text)
    text, items = _mark_lines(text)
    text = resolve_urls(text)
    if "''" in text:
        text = remove_quotes(text)
    if "<" in text:
        text = _resolve_tags(_CODE.sub(r"`\1`", text) if markdown else text)
    if "~" in text and "~~~" in text:
        text = _SIGNATURE.sub("", text)
    if "{" in text and "-{" in text:
        text = _VARIANT.sub(_choose_variant, text)
    text, definitions = _resolve_lines(text, markdown=markdown)
    return text, items + definitions


def _mark_lines(text: str) -> tuple[str, int]:
    """`text` with the markers of its list items between `LINE` marks, and their number.

    As in MediaWiki only what a line begins with counts, not what a tag, apostrophes or a URL leave
    at its beginning.
    """
    if "include" in text:
        text = _TRANSCLUSION_TAG.sub("", text)
    text, items = _LIST_MARKER.subn(rf"\n{LINE}\1{LINE}", text)
    return _RULE.sub("\n", text) if "\n----" in text else text, items


def _resolve_tags(text: str) -> str:
    text = _INLINE_TAG.sub("", text)  # first: a power or a reading may be in such a tag
    if "<su" in text or "<SU" in text or "<Su" in text:
        text = resolve_scripts(text)
    text = _BR.sub(BREAK, text)
    if "<r" in text or "<R" in text:
        parts = _RUBY_TEXT.split(_RUBY_FENCE.sub("", text))
        parts[1::2] = [f"（{reading.strip()}）" for reading in parts[1::2]]
        text = "".join(parts)
    text = _UNPAIRED_TAG.sub("", text)
    text = _BLOCK_TAG.sub("\n", text)
    if BREAK in text:
        text = _BREAK_IN_SENTENCE.sub("", text).replace(BREAK, "\n")
    return text


def _choose_variant(match: re.Match[str]) -> str:
    """The first variant of -{zh-hans:甲;zh-hant:乙}-, or the text of -{甲}-."""
    flags, bar, variants = match[1].rpartition("|")
    first = variants.partition(";")[0]
    code, colon, variant = first.partition(":")
    if colon and _VARIANT_CODE.fullmatch(code.strip()):
        return variant.strip()
    if bar and all(_VARIANT_CODE.fullmatch(flag.strip()) for flag in flags.split(";")):
        return first
    return match[0] if _is_part_of_a_name(match) else first


def _is_part_of_a_name(match: re.Match[str]) -> bool:
    text, start, end = match.string, match.start(), match.end()
    before, after = text[start - 1 : start], text[end : end + 1]
    return bool(_NAME_BEFORE.match(before) or _NAME_AFTER.match(after) or _LOCANT.search(match[1]))


def _resolve_lines(text: str, *, markdown: bool) -> tuple[str, int]:
    """`text` without what is left of its lines' markup, and how many items were added."""
    text = _ORPHANED_STOP.sub("", text)
    added = 0
    if f"\n{LINE};" in text:
        text, definitions = _DEFINITION.subn(rf"\1\n{LINE}:{LINE}" if markdown else r"\1\n", text)
        added = definitions if markdown else 0
    text = _MARKED_KEPT.sub(r"\1", text) if markdown else _MARKED.sub("", text)
    for stray in _STRAYS:
        if stray[0] in text and stray in text:
            text = text.replace(stray, "")
    return text, added
