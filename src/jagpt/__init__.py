"""jagpt: from a Japanese Wikipedia dump to a published GPT-2, in one command.

From Python: `wikitext_to_text`, `documents`, `load_recipe`, `run`, `open_run`, `open_model`,
`compare`; see `jagpt.api`. Nothing is imported until one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jagpt.api import (
        Event,
        Model,
        Run,
        compare,
        documents,
        load_recipe,
        open_model,
        open_run,
        run,
        wikitext_to_text,
    )

__version__ = "0.2.0"
__all__ = [
    "Event",
    "Model",
    "Run",
    "__version__",
    "compare",
    "documents",
    "load_recipe",
    "open_model",
    "open_run",
    "run",
    "wikitext_to_text",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jagpt' has no attribute {name!r}")
    from jagpt import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
