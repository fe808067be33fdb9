"""What only serves a network on a CPU; on a GPU, PyTorch's own is used.

attention       attention tile by tile, with dropout
dropout         dropout with 16 random bits per element
gelu            GELU without tanh
recomputation   GPT-2's blocks with less memory for the backward pass
allocator       freed blocks are returned to the system
cache           parts of the loss that stay in the cache
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from jagpt.models.build import prepared
from jagpt.training.cpu import attention
from jagpt.training.cpu.dropout import CheapDropout
from jagpt.training.cpu.gelu import CachedGelu
from jagpt.training.cpu.recomputation import recompute


def adapt(network: PreTrainedModel, *, learns: bool) -> None:
    """Let `network`, which `learns` or is only evaluated, run on a CPU with this package's kernels.

    The class, the weights and their names stay, and so does the function; dropout hits different
    elements, with the same distribution.
    """
    if not learns:
        prepared(network, CachedGelu)
    attention.register()
    if network.config._attn_implementation == "sdpa":  # otherwise the class has its own attention
        network.set_attn_implementation(attention.NAME)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, CheapDropout(child.p).train(child.training))
    if learns:
        recompute(network)
