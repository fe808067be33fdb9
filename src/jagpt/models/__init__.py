"""Models: built from a recipe, or existing ones opened.

    open ─▶ ModelFolder      a run, a checkpoint, a folder or a hub id: checked, and then
                             its network, tokenizer and defaults
    place, guard             which folder is meant; what a stranger's folder may say and contain
    build                    from a recipe's `[model]` to a new network
    pretrained               weights to start from
    checkpoint_folder, tensors    the names of checkpoints, and the tensors in them
    size                     parameters and FLOPs

Nothing here needs torch until a network is requested.
"""

from jagpt.models.folder import ModelFolder, open  # noqa: A004
from jagpt.models.tokenizer import load_tokenizer

__all__ = ["ModelFolder", "load_tokenizer", "open"]
