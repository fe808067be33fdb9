"""Models: built from a recipe, and opened where they exist.

    open ─▶ ModelFolder      a run, a checkpoint, a folder or an id of the hub: checked, and then
                             its network, tokenizer and defaults
    place, guard             which folder is meant; what a stranger's may say and hold
    build                    from a recipe's `[model]` to a new network
    pretrained               weights to start from
    checkpoint_folder, tensors    what checkpoints are called, and the tensors in them
    size                     parameters and FLOPs

Nothing here needs torch before a network is asked for.
"""

from jagpt.models.folder import ModelFolder, open  # noqa: A004
from jagpt.models.tokenizer import load_tokenizer

__all__ = ["ModelFolder", "load_tokenizer", "open"]
