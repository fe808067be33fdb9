"""A function on many jobs, in processes of this machine or on a cluster.

pool      jobs handed out, few of them waiting, stopped quickly
cluster   the same jobs on a Ray cluster
"""

from jagpt.workers.cluster import check, executor_of
from jagpt.workers.pool import Workers, serve_parent

__all__ = ["Workers", "check", "executor_of", "serve_parent"]
