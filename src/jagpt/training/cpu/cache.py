"""How much of the loss stays in a CPU's cache between two passes."""

CHUNK = 256
"""Positions whose logits live at a time: more cost memory, and no time is won."""
ROWS, PIECES = 16, 1024
"""Of a chunk, so many positions or pieces at a time."""
