"""The axes of a recipe, and what stands beside them: one interface a file."""
