"""What other programs load: one module a format, and the proof that it is the same model."""
