"""Training: the loop and what it stands on.

stage        the train stage: reads tokens, leaves checkpoints
loop         steps, validations, checkpoints, interruptions
ranks        which process this is; several on one machine (no torch)
distributed  the group of ranks: orders, collectives, heartbeat
parallel     the model alone, replicated or sharded
gradient     a step's gradient, micro-batch by micro-batch
batches      sequences on their way to the device
settling     what a recipe leaves to the machine: `auto` (no torch unless it is asked)
plan         how many steps, which are validated and kept; may an old run go on (no torch)
schedules    the learning rate of a step (no torch)
loss         nats over the vocabulary without all logits at once
network      the model that is trained: built or loaded, on its device
cpu/         what serves a network on a CPU alone
optimizers   parameter groups and their optimizer
muon         Muon for matrices, AdamW for the rest
averaging    the average of the last steps' weights
validation   nats of a split
checkpoints  folders: verify, resume, rotate, index (no torch)
weights      tensors of model, optimizer and average to a checkpoint and back
tensors      safetensors files, one tensor at a time
bad_steps    losses and gradients that must not be learnt from (no torch)
samples      continuations at each validation
metrics      JSON lines, TensorBoard, the loss curve
trackers     W&B and trackio
pace         seconds, memory
machine      a rank's device, threads, determinism, facts of the host
stopping     SIGTERM, Ctrl-C and the time limit
"""
