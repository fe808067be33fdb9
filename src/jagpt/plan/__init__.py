"""What a run takes, before anything runs.

local      hours and disk on this machine: what `jagpt run` prints first
measured   the speed of training here: the network's own products
instead    which GPU would do in a day what takes weeks on a CPU
size       how much text and how many tokens a recipe's sources hold
published  the model of time: one efficiency per family of GPUs, fitted to published runs
memory     a GPU's memory by part, and which knob makes a run fit
growth     more GPUs and more text, and where communication becomes the bottleneck
planning   everything together: `jagpt plan`
"""

from jagpt.plan.local import Estimate, estimate

__all__ = ["Estimate", "estimate"]
