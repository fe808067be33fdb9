"""Find phrases that read as translated, in English and in Japanese, with the better wording.

usage: check_phrases.py [FILE ...]    without files: src/, docs/ and the READMEs; exit 1 for a find

A phrase is looked for across line ends, since texts are wrapped. What stands between backticks is
code and is not read, and neither is code outside strings and comments.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = {".md", ".j2", ".toml"}
EACH = (
    "byte|character|continuation|core|document|epoch|file|forward pass|GPU|kilobyte|line|"
    "micro-batch|optimizer step|page|parameter|phenomenon|piece|process|prompt|rank|request|row|"
    "sequence|stage|step|token|training sequence|weight"
)
COUNTED = (
    "bits|blocks|bytes|characters|continuations|documents|FLOPs?|GB|heads|lines|MB|messages|"
    "micro-batches|milliseconds|nats|pages|pieces|positions|seconds|sequences|steps|tokens|weights"
)
COMPARED = "better|different|faster|larger|less|longer|more|need|slower|smaller|such|use|way|worse"
ENGLISH = {
    rf"\b(?:{COUNTED}) an? (?:{EACH})\b": "… per …",
    r"\b(?:characters|documents|pages|sequences|steps|tokens) a second\b": "… per second",
    r"\b(?:one|once) an? (?:core|file|line|row|second|step|worker)\b": "… per …",
    r"\b(?!http)\w+\(s\)": "units.counted: 1 file, 2 files",
    r"\banew\b": "again, or: rerun, start over",
    r"\bleaves? with (?:code )?\d": "exits with code …",
    r"\b(?:on|for) the way back\b": "in (for) the backward pass",
    r"\b(?:is|are) wanted\b": "expected …, or: give …",
    r"\bmust be given\b": "is required",
    r"\bsomething else stands\b": "found something else",
    r"\b(?:that|which) (?:is|are) no numbers?\b": "NaN or infinite",
    rf"\b(?:it|that|which|this|one|these|they|those) (?:is|are) no (?!(?:{COMPARED})\b)[a-z]+": (
        "not a …"
    ),
    r"\btold (?:all )?at once\b": "reported together",
    r"\bIt ends so\b": "The output ends like this",
    r"\bbear(?:s)? 0\.\d": "0.… suits …",
    r", but (?:biases|norms|revision|at ties|for)\b": ", except …",
    r"\bleaves in time\b": "exits before",
    r"\b(?:if|where) not given\b": "by default …",
    r"\bso many (?:bytes|characters|documents|hours|lines|steps|tokens)\b": "this many …",
    r"\bid of the hub\b|\bids of the hub\b|\ban hub\b": "a hub id",
    r"\bthe very same (?:bytes|text|tokens)\b": "exactly the same …",
    r"\bwhat (?:stands|stood) (?:here|there)\b": "what is there",
    r"\bgo(?:es)? on from\b|\bgo(?:es)? on (?:where|with it)\b|\bgoing on from\b": "continue …",
    r"\bcommand goes on\b": "command continues",
    r"`\w+Error` where\b|\b(?:None|True|False) where\b": "… if …",
    r"\bmay be given more than once\b|\bmay be repeated\b": "repeatable",
    r"\bsets? aside unasked\b": "moved aside without asking",
    r"\bwhatever stands there\b": "whatever is there",
    r"\bfell? out\b(?= of both)": "cancels out",
    r"\bmeans nothing beside\b": "has no effect with",
    r"\bin a line of its own\b|\ba line of its own\b": "its own line",
    r"\bthree digits that count\b": "three significant digits",
    r"\bwhole number\b(?= is)": "integer",
    r"\(\d[\d.,]*(?: MB| GB| s)? wanted\b|\b\d[\d.]* (?:is|were|was) wanted\b": "goal: …",
    r"\bin place of\b": "instead of",
    r"\ba script of the day\b": "a throwaway script",
    r"\b(?:learn\w*|read) by heart\b": "memorize",
    r"\bgo(?:es)? on(?= longer|\.|,|;|$)|\bgoes on \w+ing\b": "continue, keep …",
    r"\bnot taken\b(?=[,:]|$)": "not adopted",
    r"\bstands? (?:after|before|beside|between|verbatim|word for word|in (?:its|their) place)\b": (
        "is …, occurs …"
    ),
    r"\btook no part\b": "was not used",
    r"\bon the average\b": "on average",
}
GAP = r"(?: |\s*\n\s*(?:[#>] )?)"
JAPANESE = {r"手元への写し|写し(?=を|が|は|ます)": "コピー", "働き(?!かけ)": "機能"}
PLAIN = {
    r"(?<=[ぁ-んァ-ヶー一-龠])(?:である|であった)。": "です・ます",
    r"(?<=[一-龠ァ-ヶ])だ。": "です・ます",
}
"""Of Japanese pages, whose style is です・ます."""


def main(arguments: list[str]) -> int:
    """Print each find with its file and line; the exit code."""
    files = [Path(name) for name in arguments] or list(read_files())
    found = [find for path in files for find in finds(path)]
    for find in found:
        print(find, file=sys.stderr)
    return 1 if found else 0


def read_files() -> Iterator[Path]:
    """What a user or a developer reads: pages, recipes, and the texts in the source."""
    yield from sorted(ROOT.glob("README*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in TEXTS | {".py"}:
            yield path


def finds(path: Path) -> Iterator[str]:
    """`FILE:LINE: phrase → better` for each phrase in a file."""
    text = path.read_text("utf-8")
    where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for start, part in texts(text) if path.suffix == ".py" else [(1, text)]:
        for number, phrase, better in phrases(part, plain=_is_japanese(path)):
            yield f"{where}:{start + number}: {phrase!r} → {better}"


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The strings and comments of a Python file with their first lines, neighbours joined."""
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    start, joined, last = 1, "", 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in kinds:
            continue
        if joined and token.start[0] > last + 1:
            yield start, joined
            joined = ""
        if not joined:
            start = token.start[0]
        gap = "\n" * (token.start[0] - last) if joined else ""
        prefix = r"^[rRbBfF]*['\"]+|['\"]+$|^#"
        joined += (gap or " ") + re.sub(prefix, "", token.string)
        last = token.end[0]
    if joined:
        yield start, joined


def _is_japanese(path: Path) -> bool:
    return path.parent.name == "ja" or path.name.endswith(".ja.md")


def phrases(text: str, plain: bool = False) -> Iterator[tuple[int, str, str]]:
    """(line from 0, phrase, better wording) for each phrase in a text; `plain` Japanese too."""
    fenced = re.sub(r"^ *```.*?^ *```$", _blank, text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", _code, fenced)
    listed = ENGLISH | JAPANESE | (PLAIN if plain else {})
    for phrase, better in listed.items():
        for match in re.finditer(phrase.replace(" ", GAP), prose):
            yield text[: match.start()].count("\n"), " ".join(match[0].split()), better


def _blank(match: re.Match[str]) -> str:
    """A fenced block without its text; its lines and length stay."""
    return re.sub(r"[^\n]", " ", match[0])


def _code(match: re.Match[str]) -> str:
    """Inline code without its text, but an error's name, which a phrase may begin with."""
    return match[0] if match[0].endswith("Error`") else "`" + "_" * (len(match[0]) - 2) + "`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
