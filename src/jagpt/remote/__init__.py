"""A run's copies on another machine: a bucket, a mounted drive, whatever fsspec opens.

store    keys at a place, each refusal reported in one line
lease    one writer a place
copies   what is copied and how it lies there
taking   what fits a recipe is restored
keeping  the thread that copies during a run
"""

from jagpt.remote.keeping import Keeper, kept, push
from jagpt.remote.looking import Elsewhere, look
from jagpt.remote.taking import pull

__all__ = ["Elsewhere", "Keeper", "kept", "look", "pull", "push"]
