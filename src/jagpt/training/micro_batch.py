"""How many sequences per micro-batch has, where the recipe leaves that to the machine.

A step has the same sequences in micro-batches of any size. Only dropout, which is drawn for each,
and the order of the sums differ.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch

from jagpt import devices
from jagpt.progress import Progress
from jagpt.training.parallel import Learner
from jagpt.training.plan import PLAIN_TOKENS, Plan
from jagpt.training.state import State

SPARE = 0.05
"""Share of a GPU's memory that is left free."""


def chosen(plan: Plan, learner: Learner, state: State | None, progress: Progress) -> Plan:
    """The plan with the micro-batch used so far by the run, else the largest that fits."""
    if not plan.sizes:
        return plan
    if state is not None and state.batch_sizes:
        most, why = state.batch_sizes[-1].size, "as before"
    elif learner.device.type == "cuda" and not learner.sharded:
        most, why = _largest(plan, learner), "the largest that fits"
    else:
        most = max(1, PLAIN_TOKENS // plan.block_size)
        why = f"at most {PLAIN_TOKENS:,} tokens on {learner.device.type}"
    found = plan.in_batches_of(most)
    assert found is not None  # noqa: S101  # one sequence is always among the sizes
    train = found.train
    progress.say(f"train.batch_size: {train.batch_size} ({why}), {train.grad_accum_steps} a step")
    return found


def release(learner: Learner) -> None:
    """Drop the gradients, and return the memory of the failed attempt to the device."""
    learner.network.zero_grad(set_to_none=True)
    if learner.device.type == "cuda":
        torch.cuda.empty_cache()


def _largest(plan: Plan, learner: Learner) -> int:
    """The largest size for which a forward and a backward pass fit on every rank."""
    for size in plan.sizes:
        fits = _fits(plan, learner, size)
        if -learner.group.highest(-int(fits)):
            return size
    return plan.sizes[-1]  # what does not fit is reported when it is trained


def _fits(plan: Plan, learner: Learner, size: int) -> bool:
    fits = True
    try:
        _try(plan, learner, size)
    except RuntimeError as error:
        if not devices.is_out_of_memory(error):
            raise
        fits = False
    release(learner)
    return fits


def _try(plan: Plan, learner: Learner, size: int) -> None:
    """Two micro-batches of a step, with the other memory that training needs allocated."""
    device, train = learner.device, plan.train
    ids = torch.zeros((size, plan.block_size + 1), dtype=torch.int64, device=device)
    held = torch.empty(_still_to_come(plan, learner), dtype=torch.uint8, device=device)
    eager = torch.compiler.set_stance("force_eager") if train.compile else nullcontext()
    with eager, learner.autocast(train.precision):
        for _ in range(2):  # the second finds the first one's gradients
            with learner.micro_batch(last=False):
                nats = learner.nats(ids, torch.ones((), device=device))
                with torch.autocast(device.type, enabled=False):
                    nats.backward()
    del held


def _still_to_come(plan: Plan, learner: Learner) -> int:
    """Bytes of the optimizer's state and of the average, and those left free."""
    weights: int = sum(parameter.numel() for parameter in learner.network.parameters())
    copies = 2 + (plan.train.average != "none")
    device = learner.device
    total: int = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else 0
    return 4 * copies * weights + round(SPARE * total)
