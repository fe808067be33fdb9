"""Names of languages by their codes."""

from collections.abc import Mapping

from jagpt.wikitext.templates import table


def language_name(code: str) -> str:
    """A language's Japanese name, "" for an unknown one; a variant has its language's name."""
    languages: Mapping[str, str] = table()["languages"]
    code = table()["language_codes"].get(code.lower(), code.lower())
    return languages.get(code) or languages.get(code.partition("-")[0], "")


def short_name(code: str) -> str:
    """Its abbreviation (英, 仏), else its name."""
    short: Mapping[str, str] = table()["language_abbreviations"]
    return short.get(code) or language_name(code)
