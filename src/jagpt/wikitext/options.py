"""What a conversion takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class WikitextOptions:
    """Which parts of a page become text."""

    markup: Literal["plain", "markdown"] = "plain"
    """Plain lines, or Markdown: headings, lists, tables, formulas and code as GitHub renders
    them.
    """
    headings: bool = True
    """Keep section headings, each on its own line after a blank line."""
    tables: bool = False
    """Keep the cells of tables: one row per line, cells separated by a tab."""
    math: bool = True
    """Keep formulas as LaTeX between dollar signs: ``$E = mc^2$``."""
    captions: bool = False
    """Keep the captions of images and other files, each on its own line."""
    closing_sections: bool = False
    """Keep notes, references, external links and the like (脚注, 出典, 参考文献, 関連項目 …)."""
    citations: bool = True
    """Keep citations in lists outside references, such as a person's works."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """More templates: a name, and the format that renders it (see templates.toml) or ""."""
    max_characters: int = 4_000_000
    """Longest page that is converted; MediaWiki itself stops at 2 MiB."""
    max_depth: int = 100
    """Deepest nesting of templates, links and tables; MediaWiki's own limit is 40 templates."""

    @property
    def markdown(self) -> bool:
        return self.markup == "markdown"


@dataclass(frozen=True)
class Namespaces:
    """Prefixes, their case ignored, that make a link one to a file, a category or another wiki."""

    file: frozenset[str]
    category: frozenset[str]
    interlanguage: frozenset[str]
    """Wikis of the same family: an unescaped link to one is page furniture, not text."""


@dataclass(frozen=True)
class Cut:
    """What was removed because it depends on a value that is not in the dump."""

    places: int = 0
    """Brackets, clauses and sentences."""
    characters: int = 0


@dataclass(frozen=True)
class Converted:
    """A page as text, and what was learned along the way."""

    text: str
    """Paragraphs, list items and headings, one line each; a blank line before each section."""
    unknown_templates: dict[str, int]
    """Characters of wikitext lost to each template without a rule."""
    disambiguation: bool
    """The page carries a disambiguation template."""
    list_only: bool
    """Five or more list items, and at most one other line, not counting headings."""
    categories: tuple[str, ...]
    """The page's categories, in order, without their namespace."""
    cut: Cut = Cut()


class WikitextLimitError(ValueError):
    """A page that is longer or more deeply nested than the options allow; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def expands_beyond(limit: int) -> WikitextLimitError:
    """The error of a page whose templates show more than `limit` characters."""
    return WikitextLimitError(f"its templates expand to more than {limit} characters")


_LANGUAGE_CODES = """
aa ab ace ady af ak als am an ang ar arc ary arz as ast atj av avk awa ay az azb ba ban bar
bat-smg bcl be be-tarask be-x-old bg bh bi bjn bm bn bo bpy br bs bug bxr ca cbk-zam cdo ce ceb
ch cho chr chy ckb co cr crh cs csb cu cv cy da de din diq dsb dty dv dz ee el eml en eo es et
eu ext fa ff fi fiu-vro fj fo fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gsw gu
gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia id ie ig ii ik ilo inh io is it iu ja jam
jbo jv ka kaa kab kbd kbp kg ki kj kk kl km kn ko koi kr krc ks ksh ku kv kw ky la lad lb lbe
lez lfn lg li lij lld lmo ln lo lrc lt ltg lv lzh mai map-bms mdf mg mh mhr mi min mk ml mn mnw
mo mr mrj ms mt mus mwl my myv mzn na nah nan nap nb nds nds-nl ne new ng nl nn no nov nqo nrm
nso nv ny oc olo om or os pa pag pam pap pcd pdc pfl pi pih pl pms pnb pnt ps pt qu rm rmy rn ro
roa-rup roa-tara ru rue rw sa sah sat sc scn sco sd se sg sh shn si simple sk sl sm smn sn so sq
sr srn ss st stq su sv sw szl szy ta tcy te tet tg th ti tk tl tn to tpi tr ts tt tum tw ty tyv
udm ug uk ur uz ve vec vep vi vls vo wa war wo wuu xal xh xmf yi yo yue za zea zh zh-classical
zh-cn zh-min-nan zh-tw zh-yue zu
"""

JA_DEFAULT = Namespaces(
    file=frozenset({"file", "image", "ファイル", "画像"}),
    category=frozenset({"category", "カテゴリ"}),
    interlanguage=frozenset(_LANGUAGE_CODES.split()),
)
"""Japanese Wikipedia's prefixes and the English ones that every wiki understands."""

DEFAULT = WikitextOptions()
