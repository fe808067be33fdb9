"""Continuations of prompts by any causal language model folder.

    Settings ─▶ Drawing       what the caller asks for; what that and the defaults give
    load ─▶ TextGenerator     a model's tokenizer and defaults, and the engine that computes
    Engine ─▶ Drawn           token ids and their log-probabilities, step by step
    TextGenerator.stream ─▶ Token    the same as text, for a terminal or a page

The folder's own generation defaults apply to every setting that is not given. Each continuation
draws from its own random numbers, derived from the seed and its number: a text depends on the seed,
its prompt and the settings, not on what is generated with it.
"""

from jagpt.generation.continuing import (
    as_records,
    check_prompts,
    generate,
    planned,
    scored,
)
from jagpt.generation.engine import Drawn, Engine, Session, SteppingEngine
from jagpt.generation.generator import Continuation, TextGenerator, Token, load
from jagpt.generation.prompts import read_prompts
from jagpt.generation.settings import Defaults, Settings
from jagpt.runtimes import Drawing

__all__ = [
    "Continuation",
    "Defaults",
    "Drawing",
    "Drawn",
    "Engine",
    "Session",
    "Settings",
    "SteppingEngine",
    "TextGenerator",
    "Token",
    "as_records",
    "check_prompts",
    "generate",
    "load",
    "planned",
    "read_prompts",
    "scored",
]
