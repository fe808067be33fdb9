"""The recipe: one TOML file that says everything about a run.

sections  what a recipe may say: typed sections
checks    what is wrong with one, all at once
loading   where it comes from
"""

from jagpt.recipe.checks import validated
from jagpt.recipe.loading import find, load, parse, shipped_recipes
from jagpt.recipe.sections import (
    SAMPLE,
    SECTIONS,
    Corpus,
    Evaluate,
    Exclude,
    Execution,
    Export,
    Include,
    Model,
    Recipe,
    Release,
    Section,
    Source,
    Split,
    Tokenizer,
    Tokens,
    Train,
)

__all__ = [
    "SAMPLE",
    "SECTIONS",
    "Corpus",
    "Evaluate",
    "Exclude",
    "Execution",
    "Export",
    "Include",
    "Model",
    "Recipe",
    "Release",
    "Section",
    "Source",
    "Split",
    "Tokenizer",
    "Tokens",
    "Train",
    "find",
    "load",
    "parse",
    "shipped_recipes",
    "validated",
]
