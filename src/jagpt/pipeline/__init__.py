"""The stages in order: where they stand, and running the rest.

stages   what each stage is made of
states   done, shared, stale and why, unfinished, missing
running  making what is not done
upkeep   verify and clean
ledger   logs/timing.json, the only place for the clock and facts of the machine
"""

from jagpt.pipeline.ledger import Ledger, machine
from jagpt.pipeline.running import chosen, fetch_dumps, run_stages
from jagpt.pipeline.stages import STAGE_NAMES, Stage
from jagpt.pipeline.states import StageState, examine, open_run, settled
from jagpt.pipeline.upkeep import Verified, clean, verify

__all__ = [
    "STAGE_NAMES",
    "Ledger",
    "Stage",
    "StageState",
    "Verified",
    "chosen",
    "clean",
    "examine",
    "fetch_dumps",
    "machine",
    "open_run",
    "run_stages",
    "settled",
    "verify",
]
