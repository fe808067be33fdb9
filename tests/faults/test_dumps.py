"""Damaged dumps: found, or the text is the same; never silently less. And bombs, and odd names."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from jagpt.corpus import extraction
from jagpt.errors import DataError
from jagpt.progress import QUIET

PLACES = int(os.environ.get("JAGPT_FLIPS", "30"))
CUTS = int(os.environ.get("JAGPT_CUTS", "12"))
BOMB_MEGABYTES = int(os.environ.get("JAGPT_BOMB", "100"))
GIGABYTE = 1_000_000_000

HEADER = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="ja">\n'
    "<siteinfo><dbname>jawiki</dbname><base>https://ja.wikipedia.org/wiki/x</base>"
    '<namespaces><namespace key="0" /></namespaces></siteinfo>\n'
)
FOOTER = "</mediawiki>\n"


def page(number: int, title: str | None = None, text: str | None = None) -> str:
    body = text or f"項目{number}は{number * 31}番目の例であり、文で説明される。" * 3
    return (
        f"<page><title>{title or f'項目{number}'}</title><ns>0</ns><id>{number + 1}</id><revision>"
        f'<id>{number + 9}</id><text xml:space="preserve">{body}</text></revision></page>\n'
    )


def streams() -> list[bytes]:
    pages = [page(number) for number in range(12)]
    groups = ["".join(pages[k : k + 4]) for k in range(0, len(pages), 4)]
    return [bz2.compress(piece.encode()) for piece in (HEADER, *groups, FOOTER)]


def whole_xml() -> bytes:
    return (HEADER + "".join(page(number) for number in range(12)) + FOOTER).encode()


FORMS = {
    "multistream.xml.bz2": lambda: b"".join(streams()),
    "one-stream.xml.bz2": lambda: bz2.compress(whole_xml()),
    "dump.xml.gz": lambda: gzip.compress(whole_xml(), mtime=0),
}


def text_of(dump: Path, output: Path) -> bytes:
    """The documents of a dump as JSON lines."""
    wanted = extraction.request(str(dump), "dump", "jsonl")
    extraction.extract_documents(wanted, output, 1, QUIET)
    return (output / "documents.jsonl").read_bytes()


def check_each(tmp_path: Path, name: str, variants: Iterator[bytes]) -> int:
    """How many variants were refused by name; others must give the very text of the sound dump."""
    dump = tmp_path / name
    dump.write_bytes(FORMS[name]())
    sound = text_of(dump, tmp_path / "sound")
    refused = 0
    for number, content in enumerate(variants):
        dump.write_bytes(content)
        try:
            found = text_of(dump, tmp_path / f"out-{number}")
        except DataError as error:
            refused += name in str(error)
        else:
            assert found == sound
    return refused


@pytest.mark.parametrize("name", FORMS)
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, name: str) -> None:
    whole, rng = FORMS[name](), random.Random(name)

    def flipped() -> Iterator[bytes]:
        for _ in range(PLACES):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(data)

    assert check_each(tmp_path, name, flipped()) > PLACES // 2


@pytest.mark.parametrize("name", FORMS)
def test_a_cut_is_found(tmp_path: Path, name: str) -> None:
    whole, rng = FORMS[name](), random.Random(name)
    cuts = [rng.randrange(len(whole)) for _ in range(CUTS)]
    assert check_each(tmp_path, name, (whole[:cut] for cut in cuts)) == CUTS


def test_a_cut_at_each_stream_boundary_is_found(tmp_path: Path) -> None:
    pieces = streams()
    cuts = (b"".join(pieces[:count]) for count in range(len(pieces)))
    assert check_each(tmp_path, "multistream.xml.bz2", cuts) == len(pieces)


def test_a_stream_that_is_left_out_or_stands_twice_is_never_less_text(tmp_path: Path) -> None:
    """Nobody can tell that a whole stream of pages is gone, unless the index is there."""
    pieces = streams()
    dump = tmp_path / "jawiki-20260101-pages-articles-multistream.xml.bz2"
    lines, offset = [], 0
    for number, piece in enumerate(pieces):
        if 0 < number < len(pieces) - 1:
            first = (number - 1) * 4
            lines += [f"{offset}:{n + 1}:項目{n}\n" for n in range(first, first + 4)]
        offset += len(piece)
    index = tmp_path / "jawiki-20260101-pages-articles-multistream-index.txt.bz2"
    index.write_bytes(bz2.compress("".join(lines).encode()))
    dump.write_bytes(b"".join(pieces))
    text_of(dump, tmp_path / "sound")
    for number in (1, 2, 3):
        dump.write_bytes(b"".join(pieces[:number] + pieces[number + 1 :]))
        with pytest.raises(DataError, match="index"):
            text_of(dump, tmp_path / f"out-{number}")


# --- bombs ----------------------------------------------------------------------------------------

MEASURE = """
import re, resource, sys
from pathlib import Path
from jagpt.corpus import extraction
from jagpt.errors import JagptError
from jagpt.progress import QUIET
wanted = extraction.request(sys.argv[1], "dump", "jsonl")
try:
    extraction.extract_documents(wanted, Path(sys.argv[2]), 1, QUIET)
except JagptError as error:
    print(str(error)[:200])
status = Path("/proc/self/status")
own = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
print((int(own[1]) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024)
"""
"""Linux counts what the parent held when it started a program as that program's `ru_maxrss`."""


def bombs() -> dict[str, Sequence[bytes]]:
    """Small files that become large: pieces of XML, each with how often it repeats."""
    megabyte = 1024 * 1024
    page_start = "<page><title>a</title><ns>0</ns><id>1</id><revision><id>1</id><text>"
    text = (HEADER + page_start).encode()
    entity = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY a%d "%s">' % (n, b"&a%s;" % (str(n - 1).encode() if n else b"") * 10)
        for n in range(12)
    )
    return {
        "a page without an end": (text, *[b"a" * megabyte] * BOMB_MEGABYTES),
        "white space": (*[b" " * megabyte] * BOMB_MEGABYTES,),
        "open brackets": (
            text,
            *[b"{{[[" * (megabyte // 4)] * (BOMB_MEGABYTES // 100),
            b"</text></revision></page>\n",
        ),
        "entities": (entity + b"]>\n", text, b"&a11;" * 1000),
        "a tag without an end": (
            (HEADER + "<page><title ").encode(),
            *[b"x" * megabyte] * BOMB_MEGABYTES,
        ),
    }


@pytest.mark.parametrize("kind", bombs())
def test_a_bomb_stays_below_a_gigabyte_and_ends(tmp_path: Path, kind: str) -> None:
    dump = tmp_path / "bomb.xml.bz2"
    packer = bz2.BZ2Compressor(1)
    pieces = bombs()[kind]
    if len(pieces) > 100:  # the same stream many times over packs as well, and is made at once
        head, body = b"".join(pieces[:1]), bz2.compress(pieces[-1] * 50, 9)
        dump.write_bytes(bz2.compress(head) + body * (len(pieces) // 50))
    else:
        dump.write_bytes(packer.compress(b"".join(pieces)) + packer.flush())
    assert dump.stat().st_size < 10_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, dump, tmp_path / "out"],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < GIGABYTE


# --- names ----------------------------------------------------------------------------------------

UNSAFE_NAMES = (
    "../evil", "/abs/evil", "a/../../evil", "..", ".", "", "C:\\evil", "a\\..\\b", "a\0b", "a//b",
    "//host/evil", "a/./b/../../../evil", "..\\..\\evil", "a\ud800b",
)  # fmt: skip
"""Escapes upwards, to the root, to a drive, to a home, through separators of another system, and
half a surrogate pair, which no file system takes."""


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_an_unsafe_name_in_a_manifest_leads_nowhere(tmp_path: Path, name: str) -> None:
    from jagpt.manifests import MANIFEST, FileEntry, Manifest

    Manifest("tokens", 1, "f" * 64, {}, {}, (FileEntry("a", 1, "0" * 64),)).write(tmp_path)
    value = json.loads((tmp_path / MANIFEST).read_text())
    value["files"][0]["name"] = name
    (tmp_path / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_titles_are_text_whatever_they_hold(tmp_path: Path) -> None:
    titles = ["../../evil", "/etc/passwd", "あ" * 100, "a&#10;b", "x" * 300, "&lt;script&gt;", "~"]
    dump = tmp_path / "odd.xml"
    pages = "".join(page(number, title) for number, title in enumerate(titles))
    dump.write_text(HEADER + pages + FOOTER, "utf-8")
    rows = [json.loads(line) for line in text_of(dump, tmp_path / "out").splitlines()]
    assert [row["title"] for row in rows][:3] == titles[:3]
    assert len(rows) == len(titles)
    assert not (tmp_path / "evil").exists()


def test_a_nul_in_a_title_is_told_or_counted(tmp_path: Path) -> None:
    for nul in ("a\0b", "a&#0;b"):
        dump = tmp_path / "nul.xml"
        dump.write_text(HEADER + page(1) + page(2, nul) + FOOTER, "utf-8")
        output = tmp_path / f"out-{len(nul)}"
        try:
            documents = text_of(dump, output).splitlines()
        except DataError as error:
            told = str(error)
        else:
            left_out = json.loads((output / "stats.json").read_text())["left_out"]
            told = f"nul.xml: {left_out}"
            assert len(documents) + sum(left_out.values()) == 2
        assert "nul.xml" in told
