"""Licences: the hub's identifiers, what Wikipedia's text is under, and what follows for a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from jagpt.corpus.stats import CorpusStats, SourceStats
from jagpt.text import one_line

# fmt: off
HUB_LICENCES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
    "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "creativeml-openrail-m", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0",
    "eupl-1.1", "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1",
    "lgpl-3.0", "lgpl-lr", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by",
    "ofl-1.1", "openrail", "openrail++", "osl-3.0", "pddl", "postgresql", "unknown", "unlicense",
    "wtfpl", "zlib",
})
# fmt: on
"""Identifiers that the hub takes as they are (huggingface.co/docs/hub/repositories-licenses)."""

UNKNOWN = "unknown"
PUBLIC_DOMAIN = frozenset({"cc0-1.0", "pddl", "unlicense"})
"""They ask nothing of works made from the text."""

WIKIPEDIA_CHANGED = "20230607"
"""The day from which Wikipedia's text is under CC BY-SA 4.0; it was 3.0 before (the Wikimedia
Foundation's Terms of Use, effective 7 June 2023)."""

_WIKIPEDIA = re.compile(r"([a-z_]{2,20})wiki(?=-[0-9]{8}|$)")
_OTHER_PROJECTS = frozenset(
    {"commons", "foundation", "incubator", "mediawiki", "meta", "sources", "species", "wikidata"}
)
_EXTRACTED = ("cirrus", "wikiextractor")
"""Kinds made from a wiki's dump whose files do not say which: the source's name does."""


def wikipedia(source: SourceStats) -> str | None:
    """The language (`ja`) of the Wikipedia that a source is taken from; None if it is none."""
    name = source.wiki if source.kind == "dump" else None
    if source.kind in _EXTRACTED:
        name = source.wiki or source.name
    found = _WIKIPEDIA.match(name or "")
    return found[1] if found and found[1] not in _OTHER_PROJECTS else None


def of_wikipedia(date: str) -> str:
    """The licence of Wikipedia's text in a dump of that date (YYYYMMDD)."""
    return "cc-by-sa-4.0" if date >= WIKIPEDIA_CHANGED else "cc-by-sa-3.0"


def of_source(source: SourceStats) -> str:
    """A source's licence as the recipe says it; else Wikipedia's at the dump's date, or unknown."""
    if source.licence != UNKNOWN or wikipedia(source) is None or source.date is None:
        return source.licence
    return of_wikipedia(source.date)


def doubts(corpus: CorpusStats) -> Iterator[str]:
    """Disagreements: sources whose licence is not Wikipedia's at their dump's date."""
    for source in corpus.sources:
        if wikipedia(source) is None or source.date is None:
            continue
        found, expected = one_line(source.licence).lower(), of_wikipedia(source.date)
        if found not in (expected, UNKNOWN):
            yield (
                f"source {source.name}: the recipe says {source.licence}, but Wikipedia's text of "
                f"{source.date} is under {expected}"
            )


def of_model(wanted: str | None, corpus: CorpusStats | None) -> str:
    """The recipe's licence for the model; otherwise the one that its sources agree on.

    Public domain asks nothing, and CC BY-SA 3.0 may be relicensed as 4.0. If sources still differ,
    all of them are named.
    """
    if wanted is not None:
        return wanted
    return _agreed(of_source(source) for source in corpus.sources) if corpus else UNKNOWN


def _agreed(licences: Iterable[str]) -> str:
    found = sorted({one_line(licence) for licence in licences})
    asking = [name for name in found if name.lower() not in PUBLIC_DOMAIN] or found[:1]
    if set(map(str.lower, asking)) == {"cc-by-sa-3.0", "cc-by-sa-4.0"}:
        return "cc-by-sa-4.0"
    return " and ".join(asking) or UNKNOWN


def metadata(name: str) -> dict[str, str]:
    """The hub's own identifier, or `other` with the name beside."""
    lowered = one_line(name).lower()
    if lowered in HUB_LICENCES:
        return {"license": lowered}
    plain = re.sub(r"[^a-z0-9.]+", "-", lowered).strip("-")
    return {"license": "other", "license_name": plain or UNKNOWN}
