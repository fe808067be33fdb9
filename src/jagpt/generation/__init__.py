"""Continuations of prompts by any causal language model folder.

    Settings ─▶ Plan          what the caller asks for; what holds of it and of the defaults
    load ─▶ Loaded            a folder's tokenizer and defaults, and the engine that computes
    Engine ─▶ Drawn           token ids and their log-probabilities, step by step
    Loaded.stream ─▶ Token    the same as text, for a terminal or a page

The folder's own generation defaults hold for every knob that is not given. Each continuation draws
from its own random numbers, derived from the seed and its number: a text depends on the seed, its
prompt and the knobs, and not on what is made beside it.
"""

from jagpt.generation.continuing import (
    as_records,
    check_prompts,
    generate,
    planned,
    scored,
)
from jagpt.generation.engine import Drawn, Engine, Session, SteppingEngine
from jagpt.generation.folder import load, load_tokenizer, model_folder, quiet
from jagpt.generation.loaded import Continuation, Loaded, Token
from jagpt.generation.prompts import read_prompts
from jagpt.generation.settings import Defaults, Plan, Settings

__all__ = [
    "Continuation",
    "Defaults",
    "Drawn",
    "Engine",
    "Loaded",
    "Plan",
    "Session",
    "Settings",
    "SteppingEngine",
    "Token",
    "as_records",
    "check_prompts",
    "generate",
    "load",
    "load_tokenizer",
    "model_folder",
    "planned",
    "quiet",
    "read_prompts",
    "scored",
]
