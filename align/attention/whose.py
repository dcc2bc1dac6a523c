"""Whose replies are measured over: words of the command line, and the base model's name among the models."""

BASE = "base"
OWN = "own"
"""Each model's own: what a caller would get."""
GIVEN = "given"
"""Those that came with the rows: the same text for every model."""
RESERVED = (BASE, OWN, GIVEN)
