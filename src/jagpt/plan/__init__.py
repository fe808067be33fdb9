"""What a run takes, before anything runs.

local      hours and disk on this machine: what `jagpt run` says first
measured   what training reaches here: the network's own products
instead    which GPU would do in a day what takes weeks on a processor
size       how much text and how many tokens a recipe's sources hold
published  the model of time: one efficiency a family of GPUs, fitted to published runs
memory     a GPU's memory by part, and which knob makes a run fit
growth     more GPUs and more text, and where communication begins to bind
planning   all of it together: `jagpt plan`
"""

from jagpt.plan.local import Estimate, estimate

__all__ = ["Estimate", "estimate"]
