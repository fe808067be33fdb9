"""Pages and documents to articles: what extraction does with each one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from jagpt.corpus.cleaning import Profile, cleaned
from jagpt.corpus.documents import Article, SourceDocument
from jagpt.corpus.dump import VERSIONS, Header, Page, is_redirect
from jagpt.corpus.filters import is_bare_list, japanese_share, text_digest
from jagpt.corpus.near_duplicates import signature
from jagpt.corpus.parts import Counts
from jagpt.corpus.selection import NOT_INCLUDED, Selection
from jagpt.recipe import Corpus, Include
from jagpt.wikitext import (
    JA_DEFAULT,
    Converted,
    Namespaces,
    WikitextConverter,
    WikitextLimitError,
    WikitextOptions,
    shared_converter,
)

ARTICLES = 0
_FILE, _CATEGORY = 6, 14
NO_WIKI = Header(VERSIONS[-1], None, None)
"""For pages that do not come from a dump."""


def page_articles(
    header: Header, pages: Iterable[Page], corpus: Corpus, counts: Counts
) -> Iterator[Article]:
    """The articles among a dump's pages, in order; `counts` covers the other pages too."""
    converter = shared_converter(_options(corpus), _namespaces(header))
    for page in pages:
        counts.pages += 1
        if page.namespace == _CATEGORY and corpus.include.depth:
            name = page.title.partition(":")[2]
            counts.parents[name] = converter.categories(page.wikitext)
        if page.namespace != ARTICLES:
            counts.other_namespaces += 1
        elif page.redirect:
            counts.redirects += 1
        else:
            counts.articles += 1
            yield _page_article(page, header, converter, corpus, counts)


def _page_article(
    page: Page, header: Header, converter: WikitextConverter, corpus: Corpus, counts: Counts
) -> Article:
    url = header.url(page.title)
    if not (corpus.include.categories or _titles(corpus.include).takes_title(page.title)):
        return Article(page.id, page.title, url, page.revision, "", NOT_INCLUDED)
    converted, problem = _converted(page, converter)
    if converted is None:
        return Article(page.id, page.title, url, page.revision, "", problem)
    for template, characters in converted.unknown_templates.items():
        counts.lose(template, characters)
    counts.cut_places += converted.cut.places
    counts.cut_characters += converted.cut.characters
    asked = corpus.exclude.categories or corpus.include.categories
    return Article(
        id=page.id,
        title=page.title,
        url=url,
        revision=page.revision,
        text=converted.text,
        disambiguation=converted.disambiguation,
        list_only=converted.list_only and is_bare_list(converted.text),
        japanese_share=_share(converted.text, corpus),
        digest=text_digest(converted.text),
        categories=converted.categories if asked else (),
        signature=_signature(converted.text, corpus),
    )


@lru_cache(maxsize=1)
def _titles(include: Include) -> Selection:
    return Selection(include)


def _converted(page: Page, converter: WikitextConverter) -> tuple[Converted | None, str | None]:
    """The page's text, or why there is none."""
    if page.problem is not None:
        return None, page.problem
    try:
        return converter.convert(page.wikitext, title=page.title), None
    except WikitextLimitError as error:
        return None, error.reason
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        # one page in millions must not end a run of hours; it is counted under this name
        return None, f"conversion failed ({type(error).__name__})"


def document_articles(
    documents: Sequence[SourceDocument], corpus: Corpus, counts: Counts
) -> Iterator[Article]:
    """The articles among another source's documents, in order, counted like a dump's pages."""
    converter = shared_converter(_options(corpus), JA_DEFAULT)
    for document in documents:
        counts.pages += 1
        if document.other_namespace:
            counts.other_namespaces += 1
            continue
        counts.articles += 1
        if document.wikitext:
            yield _page_article(_as_page(document), NO_WIKI, converter, corpus, counts)
        else:
            yield _text_article(document, corpus)


def _as_page(document: SourceDocument) -> Page:
    """A document whose text is wikitext, as an article; a redirect has no text."""
    title, text = document.title, "" if is_redirect(document.text) else document.text
    return Page(document.id, title, ARTICLES, False, document.revision, text, document.problem)


def _text_article(document: SourceDocument, corpus: Corpus) -> Article:
    return Article(
        id=document.id,
        title=document.title,
        url=document.url,
        revision=document.revision,
        text=document.text,
        problem=document.problem,
        japanese_share=_share(document.text, corpus),
        digest=text_digest(document.text),
        signature=_signature(document.text, corpus),
    )


def cleaned_articles(
    articles: Iterable[Article], corpus: Corpus, profile: Profile
) -> Iterator[Article]:
    """The articles after HojiChar's filters."""
    for article in articles:
        yield _cleaned(article, corpus, profile) if profile and article.text else article


def _cleaned(article: Article, corpus: Corpus, profile: Profile) -> Article:
    text, problem = cleaned(article.text, profile)
    if problem is None and text == article.text:
        return article
    return replace(
        article,
        text=text,
        problem=problem,
        japanese_share=_share(text, corpus),
        digest=text_digest(text),
        signature=_signature(text, corpus),
    )


def _share(text: str, corpus: Corpus) -> float | None:
    """The share that a filter needs; it costs as much as everything else for a text source."""
    return japanese_share(text) if corpus.min_japanese_share > 0 else None


def _signature(text: str, corpus: Corpus) -> bytes:
    return signature(text) if corpus.drop_near_duplicates > 0 else b""


def _options(corpus: Corpus) -> WikitextOptions:
    return WikitextOptions(
        markup=corpus.markup,
        headings=corpus.headings,
        tables=corpus.keeps_tables,
        math=corpus.math,
        captions=corpus.captions,
        closing_sections=corpus.closing_sections,
        citations=corpus.citations,
        templates=corpus.templates,
    )


def _namespaces(header: Header) -> Namespaces:
    """This wiki's own prefixes of links, besides those that every wiki understands."""
    names = header.namespaces.items()
    return Namespaces(
        file=JA_DEFAULT.file | {name for name, key in names if key == _FILE},
        category=JA_DEFAULT.category | {name for name, key in names if key == _CATEGORY},
        interlanguage=JA_DEFAULT.interlanguage,
    )
