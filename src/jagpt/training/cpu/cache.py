"""How much of the loss stays in a CPU's cache between two passes."""

CHUNK = 256
"""Positions whose logits exist at a time: more cost memory and save no time."""
ROWS, PIECES = 16, 1024
"""Within a chunk, this many positions or pieces at a time."""
