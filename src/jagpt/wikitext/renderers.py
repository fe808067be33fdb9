"""Templates that need more than a format: languages, numbers, lists, flags."""

import re
from collections.abc import Callable, Mapping

from jagpt.wikitext import dates
from jagpt.wikitext.citations import citation
from jagpt.wikitext.functions import format_number, is_missing
from jagpt.wikitext.languages import language_name, short_name
from jagpt.wikitext.marks import VOID
from jagpt.wikitext.quantities import convert
from jagpt.wikitext.scripts import subscript, superscript
from jagpt.wikitext.templates import Arguments, Rule, countries, numbered, table


def named_rule(function: str, name: str) -> Rule:
    """The rule that a row's `function` makes for the template `name`; KeyError if there is none."""
    return _FUNCTIONS[function](name)


# --- languages ------------------------------------------------------------------------------------


def _language(name: str) -> Rule:
    """{{lang-fr|mot}} → フランス語: mot; {{lang-fr-short|mot}} → 仏: mot."""
    code = name.lower().removeprefix("rtl-").removeprefix("lang-").removeprefix("lang").strip(" -")
    short = code.endswith("-short")
    code = code.removesuffix("-short")
    label = short_name(code) if short else language_name(code)
    return lambda arguments: _labelled(label, arguments.get("1", ""))


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if label and text else text


def _language_by_code(arguments: Arguments) -> str:
    return _labelled(language_name(arguments.get("1", "")), arguments.get("2", ""))


def _language_tag(name: str) -> Rule:
    """{{en|text}} marks a language; a bare {{en}} is an icon without text."""
    return lambda arguments: arguments.get("1", "")


def _pronunciation(name: str) -> Rule:
    """{{IPA-fr|fʁɑ̃s}} → フランス語発音: [fʁɑ̃s]; a second argument chooses the label."""
    language = language_name(name.split("-", 1)[1])
    labels = {"": "", "lang": language, "pron": "発音", "ipa": "IPA"}

    def render(arguments: Arguments) -> str:
        sound = arguments.get("1", "")
        label = labels.get(arguments.get("2", "?").lower(), f"{language}発音")
        return _labelled(label, f"[{sound}]") if sound else ""

    return render


# --- numbers --------------------------------------------------------------------------------------


def _formatnum(arguments: Arguments) -> str:
    number = arguments.get("1", "")
    if is_missing(number):
        return VOID
    return number.replace(",", "") if arguments.get("2") == "R" else format_number(number)


def _value(arguments: Arguments) -> str:
    """{{val|1.67|(2)|e=-27|u=kg}} → 1.67(2)×10⁻²⁷ kg; {{val|5|0.1}} → 5±0.1."""
    number, *errors = numbered(arguments)[:3] or [""]
    if is_missing(number):
        return VOID
    text = arguments.get("p", "") + format_number(number)
    if len(errors) == 2:
        text += f"+{errors[0].lstrip('+')}−{errors[1].lstrip('-−')}"
    elif errors:
        text += errors[0] if errors[0].startswith("(") else f"±{errors[0].lstrip('±')}"
    if exponent := arguments.get("e"):
        text = f"({text})" if "±" in text else text
        text += _power_of_ten({"1": exponent})
    unit = next((arguments[key] for key in ("u", "ul", "up", "upl") if arguments.get(key)), "")
    per = next((arguments[key] for key in ("up", "upl") if arguments.get(key)), "")
    if per and per != unit:
        unit += f"/{per}"
    joined = unit.startswith(("%", "°", "′", "″"))
    return text + (unit if joined else f" {unit}" if unit else "") + arguments.get("s", "")


def _script(tag: str) -> Rule:
    """{{sup|3}} → <sup>3</sup>: what it holds may still be markup, and is resolved with the tag."""

    def render(arguments: Arguments) -> str:
        content = arguments.get("1", "")
        return f"<{tag}>{content}</{tag}>" if content else ""

    return render


def _power_of_ten(arguments: Arguments) -> str:
    """{{e|24}} → ×10²⁴."""
    exponent = arguments.get("1", "")
    return "×10" + superscript(exponent, "0") if exponent else ""


def _chemistry(arguments: Arguments) -> str:
    """{{chem|H|2|O}} and {{chem2|H2O}} → H₂O: numbers after an element become subscripts."""
    pieces = numbered(arguments)
    if len(pieces) == 1:
        return _COUNT.sub(lambda match: subscript(match[0]), pieces[0])
    return "".join(
        subscript(piece) if piece.isdecimal() else _charge(piece, bool(i))
        for i, piece in enumerate(pieces)
    )


_COUNT = re.compile(r"(?<=[A-Za-z)\]])[0-9]+")
_CHARGE = re.compile(r"[0-9]*[+\-−–]")


def _charge(piece: str, follows: bool) -> str:
    return superscript(piece, "0") if follows and _CHARGE.fullmatch(piece) else piece


def _stacked(arguments: Arguments) -> str:
    """{{su|p=2+|b=4}} → ²⁺₄."""
    raised = arguments.get("p") or arguments.get("1", "")
    lowered = arguments.get("b") or arguments.get("2", "")
    return superscript(raised, "0") + subscript(lowered)


def _nuclide(arguments: Arguments) -> str:
    """{{nuclide|U|235}} → ²³⁵U; with the element's English name, its name and the number."""
    element, mass = arguments.get("1", ""), arguments.get("2", "")
    if element.isdecimal():
        element, mass = mass, element
    return f"{superscript(mass, '0')}{element}" if len(element) < 3 else f"{element}-{mass}"


def _code_point(arguments: Arguments) -> str:
    """{{unichar|2605|BLACK STAR}} → U+2605 ★ BLACK STAR."""
    code = arguments.get("1", "").removeprefix("U+")
    shown = chr(int(code, 16)) if re.fullmatch("[0-9A-Fa-f]{2,5}", code) else ""
    name = arguments.get("2", "")
    return " ".join(filter(None, [f"U+{code}", shown if shown.isprintable() else "", name]))


def _fraction(arguments: Arguments) -> str:
    """{{frac|1|2|3}} → 1 2/3; {{frac|2|3}} → 2/3; {{frac|3}} → 1/3."""
    parts = [arguments[key] for key in ("1", "2", "3") if arguments.get(key)]
    if len(parts) == 3:
        return f"{parts[0]} {parts[1]}/{parts[2]}"
    return "/".join(parts if len(parts) == 2 else ["1", *parts]) if parts else ""


# --- lists ----------------------------------------------------------------------------------------

_SIZE = re.compile(
    r"(?:[0-9]+(?:\.[0-9]+)?\s*(?:em|px|ex|rem|ch|pt|cm|mm|%|列|段)?[;, ]*)+|auto|yes|no|y|n"
    r"|[a-z]+(?:-[a-z]+)*\s*:[^\n]*",
    re.IGNORECASE,
)
_COLUMN = re.compile(
    r"(?:col|列|column|content|内容|text|c)[ _]?[0-9]{0,2}|[一二三四五六左中右上下]列?"
)


def _columns(arguments: Arguments) -> str:
    """{{columns-list|2|…}}, {{Col|甲|乙}}, {{columns|col1=…}}: everything in the columns.

    A first argument that is a count or a width is not shown.
    """
    shown = numbered(arguments)
    if len(shown) > 1 and _SIZE.fullmatch(shown[0]):
        shown = shown[1:]
    shown += [value for key, value in arguments.items() if value and _COLUMN.fullmatch(key)]
    return _lines(shown)


def _items(arguments: Arguments) -> str:
    """{{ubl|甲|乙}}: one item per line."""
    return _lines(numbered(arguments))


def _lines(items: list[str]) -> str:
    return "\n" + "\n".join(items) + "\n" if items else ""


def _definitions(arguments: Arguments) -> str:
    """{{dl|語|説明|語|説明}}: one line each, also named ones (term1, defn1)."""
    named = [
        value
        for key, value in arguments.items()
        if value and re.fullmatch(r"(?:term|defn?|dt|dd|t|d)[0-9]*", key)
    ]
    return _lines([*numbered(arguments), *named])


def _verse(arguments: Arguments) -> str:
    """{{Verse translation|原文|訳文|attr1=…}}: both, one after the other."""
    shown = numbered(arguments)[:2]
    shown += [arguments[key] for key in ("attr1", "attr2") if arguments.get(key)]
    return _lines(shown)


# --- names ----------------------------------------------------------------------------------------


def _sort_name(arguments: Arguments) -> str:
    """{{sortname|太郎|山田}} → 山田太郎; {{sortname|John|Smith}} → John Smith."""
    first, last = arguments.get("1", ""), arguments.get("2", "")
    if any(_HAN.match(part) for part in (first, last)):
        return last + first
    return f"{first} {last}".strip()


_HAN = re.compile("[\u3005\u3040-\u3096\u3400-\u9fff]")


def _author_year(arguments: Arguments) -> str:
    """{{Harvtxt|Cox|Li|2014}} → Cox & Li (2014)."""
    authors, year = _cited(arguments)
    return f"{authors} ({year})" if authors else year


def _author_year_plain(arguments: Arguments) -> str:
    """{{Harvnb|Cox|Li|2014}} → Cox & Li 2014."""
    return " ".join(filter(None, _cited(arguments)))


def _cited(arguments: Arguments) -> tuple[str, str]:
    parts = [arguments[key] for key in ("1", "2", "3", "4", "5") if arguments.get(key)]
    if len(parts) < 2:
        return "", "".join(parts)
    *names, year = parts
    return " & ".join(filter(None, [", ".join(names[:-1]), names[-1]])), year


def _flag(arguments: Arguments) -> str:
    """{{flag|Japan}} → 日本; a name missing from the table is shown as it is."""
    names = countries()
    name = arguments.get("name") or arguments.get("1", "")
    return names.get(name) or names.get(name.upper()) or names.get(_year_less(name), name)


def _year_less(code: str) -> str:
    """The code in JPN1947; "" where there is none."""
    head = code.rstrip("0123456789").rstrip("-")
    return head if head != code and head.isupper() else ""


def _labelled_flag(arguments: Arguments) -> str:
    """{{Flagathlete|甲|JPN}} → 甲（日本）."""
    land = _flag({"1": arguments.get("2", "")})
    return arguments.get("1", "") + (f"（{land}）" if land else "")


def _okurigana(name: str) -> Rule:
    """{{おくりがな2|青|あお|い|あおい}} → 青い: a kanji, its reading and what is written in kana.

    おくりがな3 has two of them: {{おくりがな3|食|た|べ|物|もの||たべもの}} → 食べ物.
    """
    shown = ("1", "3", "4", "6") if name.endswith("3") else ("1", "3")
    return lambda arguments: "".join(arguments.get(key, "") for key in shown)


def _music(arguments: Arguments) -> str:
    """{{music|flat}} → ♭; anything without a sign is shown as it is."""
    signs: Mapping[str, str] = table()["music"]
    return "".join(signs.get(name.lower(), name) for name in numbered(arguments))


def _quotation(arguments: Arguments) -> str:
    """{{Quote|文|人|本}}: the text, and below it who said it, and where."""
    text = _first(arguments, "text", "quote", "content", "文章", "本文", "1")
    author = _first(arguments, "author", "sign", "発言者", "話者", "作者", "by", "2")
    source = _first(arguments, "source", "出典", "title", "3")
    return f"\n{text}\n{'、'.join(filter(None, [author, source]))}\n" if text else ""


def _first(arguments: Arguments, *names: str) -> str:
    return next((arguments[name] for name in names if arguments.get(name)), "")


_PICTURE_SIZE = re.compile(r"(?<=[^\x00-\x7f])[A-Za-z]+$")


def _tile(arguments: Arguments) -> str:
    """{{牌画|七萬s}} → 七萬: the picture's name without its size."""
    return "".join(_PICTURE_SIZE.sub("", name) for name in numbered(arguments))


_ADDRESS = re.compile(r"(?:https?:)?//\S*")


def _link_label(arguments: Arguments) -> str:
    """{{PDFlink|[http://… 資料]}} and {{PDFlink|http://…|資料}}: the label, not the file's size."""
    first, second = arguments.get("1", ""), arguments.get("2", "")
    return arguments.get("label") or (second if _ADDRESS.fullmatch(first) else first)


_SCRIPTS = {
    "c": "中国語", "s": "簡体字", "t": "繁体字", "p": "拼音",
    "hangul": "ハングル", "hanja": "漢字", "rr": "RR", "mr": "MR",
}  # fmt: skip


def _scripts_of_name(arguments: Arguments) -> str:
    """{{zh|t=臺灣|s=台湾}} → 繁体字: 臺灣、簡体字: 台湾."""
    named = [f"{_SCRIPTS[key]}: {value}" for key, value in arguments.items() if key in _SCRIPTS]
    return "、".join(numbered(arguments) + named)


_PLAY = frozenset(("発音", "聞く", "聴く", "音声", "再生", "listen", "help", "ヘルプ", "試聴"))


def _sound(arguments: Arguments) -> str:
    """{{Audio|a.ogg|Norge}} → Norge; a label that only says that there is a sound is dropped."""
    label = arguments.get("2", "")
    return "" if label.strip("（）() ").lower() in _PLAY else label


def _always(rule: Rule) -> Callable[[str], Rule]:
    return lambda name: rule


_FUNCTIONS: Mapping[str, Callable[[str], Rule]] = {
    "language": _language,
    "language_by_code": _always(_language_by_code),
    "language_tag": _language_tag,
    "pronunciation": _pronunciation,
    "formatnum": _always(_formatnum),
    "value": _always(_value),
    "power_of_ten": _always(_power_of_ten),
    "chemistry": _always(_chemistry),
    "superscript": _always(_script("sup")),
    "subscript": _always(_script("sub")),
    "convert": _always(convert),
    "date": _always(dates.start_date),
    "death_date": _always(dates.death_date),
    "age_at_death": _always(dates.age_at_death),
    "years_between": _always(dates.years_between),
    "japanese_era": _always(dates.japanese_era),
    "year_definition": _always(dates.year_definition),
    "stacked": _always(_stacked),
    "nuclide": _always(_nuclide),
    "code_point": _always(_code_point),
    "scripts_of_name": _always(_scripts_of_name),
    "fraction": _always(_fraction),
    "columns": _always(_columns),
    "items": _always(_items),
    "definitions": _always(_definitions),
    "verse": _always(_verse),
    "sort_name": _always(_sort_name),
    "author_year": _always(_author_year),
    "author_year_plain": _always(_author_year_plain),
    "citation": citation,
    "flag": _always(_flag),
    "labelled_flag": _always(_labelled_flag),
    "okurigana": _okurigana,
    "music": _always(_music),
    "quotation": _always(_quotation),
    "tile": _always(_tile),
    "sound": _always(_sound),
    "link_label": _always(_link_label),
}
