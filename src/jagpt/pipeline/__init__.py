"""The stages in order: where they stand, and running the rest.

states   done, shared, stale and why, unfinished, missing
running  making what is not done
keeping  what of earlier results is of use
superseded  results that others took the place of
shortage all that is wrong where a corpus is too small
upkeep   verify and clean
ledger   logs/timing.json, the only place for the clock and facts of the machine
"""

from jagpt.pipeline.ledger import Ledger
from jagpt.pipeline.running import chosen, fetch, require_inputs, run_stages, unmade
from jagpt.pipeline.states import (
    StageState,
    as_it_stands,
    as_made,
    examine,
    is_wanted,
    open_run,
    settled,
)
from jagpt.pipeline.upkeep import Verified, clean, verify

__all__ = [
    "Ledger",
    "StageState",
    "Verified",
    "as_it_stands",
    "as_made",
    "chosen",
    "clean",
    "examine",
    "fetch",
    "is_wanted",
    "open_run",
    "require_inputs",
    "run_stages",
    "settled",
    "unmade",
    "verify",
]
