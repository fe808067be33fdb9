"""The recipe: one TOML file that says everything about a run.

sections  what a recipe may say: typed sections
checks    all mistakes of a recipe, reported together
loading   where it comes from
searching what a search may change in one
"""

from jagpt.recipe.checks import validated
from jagpt.recipe.loading import changed, find, load, parse, shipped_recipes
from jagpt.recipe.searching import search_kind
from jagpt.recipe.sections import (
    AUTO,
    DEFAULT_SHARE,
    SAMPLE,
    SECTIONS,
    Baseline,
    Corpus,
    Evaluate,
    Exclude,
    Execution,
    Export,
    Include,
    Model,
    Range,
    Recipe,
    Release,
    Search,
    Section,
    Source,
    Split,
    Tokenizer,
    Tokens,
    Train,
    mirror_problem,
    place_problem,
)

__all__ = [
    "AUTO",
    "DEFAULT_SHARE",
    "SAMPLE",
    "SECTIONS",
    "Baseline",
    "Corpus",
    "Evaluate",
    "Exclude",
    "Execution",
    "Export",
    "Include",
    "Model",
    "Range",
    "Recipe",
    "Release",
    "Search",
    "Section",
    "Source",
    "Split",
    "Tokenizer",
    "Tokens",
    "Train",
    "changed",
    "find",
    "load",
    "mirror_problem",
    "parse",
    "place_problem",
    "search_kind",
    "shipped_recipes",
    "validated",
]
