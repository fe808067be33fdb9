"""Models: built from a recipe, and opened where they exist."""
