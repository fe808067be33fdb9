"""Training, which reads as a story: `stage` sets up who takes part, `fit` tells what they do.

stage        the train stage: reads tokens, leaves checkpoints
fit          from where a run stands to its last step

plan         how many steps, which are validated and kept; may an old run go on (no torch)
state        where a run stands (no torch)
trainer      what a step is: gradient, update, average
validation   when a network is measured: nats of the valid split
keeper       the checkpoints of a run under way: saved, gone back to
reporter     what is told of a step and of a validation
stopping     SIGTERM, Ctrl-C and the time limit
bad_steps    losses and gradients that must not be learnt from (no torch)

data         what is learnt from and measured on
batches      sequences on their way to the device
network      the model that is trained: built or loaded, on its device
rehearsal    what a class of network cannot do is found out before the first stage
embeddings   where a new network's embeddings begin
cpu/         what serves a network on a CPU alone
loss         nats over the vocabulary without all logits at once
parallel     the model alone, replicated or sharded
optimizers   parameter groups and their optimizer
matrices     weights by their kind: matrices, embeddings, vectors
muon         Muon for matrices, AdamW for the rest
schedules    the learning rate of a step (no torch)
averaging    the average of the last steps' weights
checkpoints  folders: made whole, verified, rotated, indexed (no torch)
weights      tensors of model, optimizer and average to a checkpoint and back
samples      continuations at each validation
metrics      JSON lines, TensorBoard
curve        the picture of the losses (no torch)
environment  on what a run was trained (no torch)
trackers     W&B and trackio
pace         seconds, memory
machine      a rank's device, determinism, facts of the host
ranks        which process this is; several on one machine (no torch)
distributed  the group of ranks: orders, collectives, heartbeat
"""
