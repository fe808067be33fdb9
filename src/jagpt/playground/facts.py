"""What the page says about a model besides its name."""

from __future__ import annotations

from dataclasses import dataclass

from jagpt import recipe as recipes
from jagpt.errors import JagptError
from jagpt.generation import TextGenerator
from jagpt.recipe import SAMPLE
from jagpt.rundir import is_run


@dataclass(frozen=True)
class Facts:
    """`parameters` is None if the engine does not say; a `demonstration` was trained on the
    sample.
    """

    parameters: int | None
    context: int | None
    vocabulary: int
    demonstration: bool


def facts_of(loaded: TextGenerator) -> Facts:
    """The facts about a loaded model."""
    network = getattr(loaded.engine, "model", None)
    count = network.num_parameters() if network is not None else None
    return Facts(count, loaded.context, loaded.engine.vocab_size, _is_demonstration(loaded))


def _is_demonstration(loaded: TextGenerator) -> bool:
    """Whether a run trained it on the bundled sample."""
    try:
        run = next((folder for folder in loaded.directory.parents[:2] if is_run(folder)), None)
        sources = recipes.load(run).corpus.source if run is not None else ()
    except JagptError:
        return False
    return any(source.path == SAMPLE for source in sources)
