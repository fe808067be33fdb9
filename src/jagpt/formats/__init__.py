"""What other programs load: one module per format, and the proof that it is the same model."""
