"""Training: `stage` sets up the parts, `fit` is the loop that uses them.

stage        the train stage: reads tokens, leaves checkpoints
fit          from a run's current state to its last step

plan         how many steps, which are validated and kept; can an old run continue (no torch)
state        the state of a run (no torch)
trainer      one step: gradient, update, average
validation   nats of the valid split
keeper       the checkpoints of a running training: saved, returned to
reporter     what is reported about a step and a validation
stopping     SIGTERM, Ctrl-C and the time limit
bad_steps    losses and gradients that must not be learnt from (no torch)

data         the data to learn from and to measure on
batches      sequences on their way to the device
network      the model that is trained: built or loaded, on its device
rehearsal    finds out what a class of network cannot do, before the first stage
embeddings   initial embeddings of a new network
cpu/         what only serves a network on a CPU
loss         nats over the vocabulary without keeping all logits
parallel     the model alone, replicated or sharded
optimizers   parameter groups and their optimizer
matrices     weights by their kind: matrices, embeddings, vectors
muon         Muon for matrices, AdamW for the rest
schedules    the learning rate of a step (no torch)
averaging    the average of the last steps' weights
checkpoints  folders: made atomically, verified, rotated, indexed (no torch)
weights      tensors of model, optimizer and average to a checkpoint and back
samples      continuations at each validation
metrics      JSON lines, TensorBoard
curve        the plot of the losses (no torch)
environment  what a run was trained on (no torch)
trackers     W&B and trackio
pace         seconds, memory
machine      a rank's device, determinism, facts of the host
ranks        which process this is; several on one machine (no torch)
distributed  the group of ranks: orders, collectives, heartbeat
"""
