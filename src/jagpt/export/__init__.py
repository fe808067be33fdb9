"""From a checkpoint to the Hugging Face folder that `transformers` loads."""
