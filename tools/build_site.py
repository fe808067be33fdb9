"""Build the documentation's site in English and Japanese, with llms.txt beside it.

usage: build_site.py [FOLDER]    FOLDER (site/ if not given) is made anew

The pages are docs/*.md; docs/ja/ has those that are translated, and docs/nav.toml their order. A
page without a translation stands on the Japanese site in English, with a note. Any warning, such as
a broken link, fails the build, and FOLDER stays as it was.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LANGUAGES = ("en", "ja")
UNTRANSLATED = "```{note}\nこのページはまだ日本語に訳されていません。英語で表示しています。\n```"
BESIDE = re.compile(r"\]\(\.\./((?:images/)?[\w-]+\.(?:md|png))(?=[#)])")
"""A link of a translated page to an English one or to an image, which the site has beside it."""
SECTION = re.compile(r"\]\(([\w-]+\.md)#([^)\s]+)\)")
"""A link to a section of another page."""
LABELS = {
    "Toggle site navigation sidebar": "ページの一覧を開閉する",
    "Toggle table of contents sidebar": "このページの内容を開閉する",
    "Toggle Light / Dark / Auto color theme": "配色（明るい、暗い、自動）を切り替える",
    "Contents": "目次",
    "Menu": "メニュー",
    "Expand": "開く",
    "Light mode": "明るい配色",
    "Dark mode": "暗い配色",
    "Auto light/dark, in light mode": "自動の配色（現在は明るい）",
    "Auto light/dark, in dark mode": "自動の配色（現在は暗い）",
}
"""What the theme calls its buttons and icons, without a way to translate it."""
OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")
"""A link to a file of the repository that is no page: its text is left."""


def main(arguments: list[str]) -> int:
    """Build both languages and put them in place together."""
    target = Path(arguments[0] if arguments else ROOT / "site").absolute()
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "site"
        for language in LANGUAGES:
            source = Path(folder) / language
            stage(source, language)
            done = sphinx(source, built if language == "en" else built / language, language)
            if done != 0:
                return done
        label(built / "ja", LABELS)
        (built / "llms.txt").write_text(llms(), "utf-8")
        for page in sorted(DOCS.glob("*.md")):
            shutil.copy(page, built)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(built, target)
    print(target / "index.html")
    return 0


def navigation() -> list[dict[str, Any]]:
    """The sections of docs/nav.toml: `en`, `ja`, and `pages`, page → its entry in Japanese."""
    sections: list[dict[str, Any]] = tomllib.loads((DOCS / "nav.toml").read_text("utf-8"))[
        "section"
    ]
    return sections


def stage(source: Path, language: str) -> None:
    """Put together the pages of one language, each under its own name."""
    shutil.copytree(DOCS, source, ignore=_apart)
    for page in source.glob("*.md"):
        translated = DOCS / language / page.name
        text = (translated if translated.exists() else page).read_text("utf-8")
        if translated.exists():
            text = BESIDE.sub(r"](\1", text)
        text = OUTSIDE.sub(r"\1", text)
        text = SECTION.sub(lambda link: translated_section(link, language), text)
        if language != "en" and not translated.exists():
            title, _, rest = text.partition("\n")
            text = f"{title}\n\n{UNTRANSLATED}\n{rest}"
        if page.stem == "index":
            text += "".join(toctree(section, language) for section in navigation())
        page.write_text(text, "utf-8")


def translated_section(link: re.Match[str], language: str) -> str:
    """A link to an English heading, led to the one at the same place of the translated page."""
    english, translated = DOCS / link[1], DOCS / language / link[1]
    if not translated.exists() or link[2] not in (known := anchors(english)):
        return link[0]
    return f"]({link[1]}#{anchors(translated)[known.index(link[2])]})"


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings in order, as MyST and GitHub make them."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain]


def _apart(folder: str, _: list[str]) -> set[str]:
    """What of docs/ is no page of the language itself."""
    return {"ja", "conf.py", "nav.toml"} if Path(folder) == DOCS else set()


def toctree(section: dict[str, Any], language: str) -> str:
    """A section of the navigation, as MyST writes it."""
    entries = section["pages"].items()
    lines = [page if language == "en" else f"{title} <{page}>" for page, title in entries]
    head = f"\n```{{toctree}}\n:hidden:\n:caption: {section[language]}\n\n"
    return head + "\n".join(lines) + "\n```\n"


def sphinx(source: Path, target: Path, language: str) -> int:
    """Build one language without its working files; Sphinx's exit code."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
    command += ["-c", str(DOCS), "-d", f"{source}.doctrees", "-D", f"language={language}"]
    done = subprocess.run([*command, str(source), str(target)], cwd=source, check=False)  # noqa: S603
    return done.returncode


def label(site: Path, labels: Mapping[str, str]) -> None:
    """Translate the names of the theme's buttons and icons in every page under `site`."""
    names = "|".join(map(re.escape, labels))
    place = re.compile(rf'(?<=aria-label=")(?:{names})(?=")|(?<=<title>)(?:{names})(?=</title>)')
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        page.write_text(place.sub(lambda found: labels[found[0]], text), "utf-8")


def llms() -> str:
    """The site's contents for programs: https://llmstxt.org."""
    parts = [f"# jagpt\n\n> {title_and_lead(DOCS / 'index.md')[1]}\n"]
    for section in navigation():
        lines = []
        for page in section["pages"]:
            title, lead = title_and_lead(DOCS / f"{page}.md")
            lines.append(f"- [{title}]({page}.md)" + (f": {lead}\n" if lead else "\n"))
        parts.append(f"## {section['en']}\n\n{''.join(lines)}")
    return "\n".join(parts)


def title_and_lead(page: Path) -> tuple[str, str]:
    """A page's title, and the first sentence of its prose."""
    title, _, rest = page.read_text("utf-8").partition("\n")
    prose = re.sub(r"^ *```.*?^ *```$", "", rest, flags=re.MULTILINE | re.DOTALL)
    blocks = [block.strip() for block in prose.split("\n\n")]
    leads = (
        block for block in blocks if block and not block.startswith(("#", "|", "!", "Made from"))
    )
    lead = next(leads, "")
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", " ".join(lead.split())).replace("**", "")
    return title.lstrip("# "), re.split(r"(?<=[.:]) ", plain)[0].rstrip(":")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
