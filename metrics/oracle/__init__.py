"""The oracle: a small network, trained here on toyworld, that reads class, colour mode, pose, mask and depth from one of its pictures."""

from metrics.oracle.reading import Oracle, Reading
from metrics.oracle.recipe import OracleRecipe
from metrics.oracle.weights import find_oracle, load_oracle

__all__ = ['Oracle', 'OracleRecipe', 'Reading', 'find_oracle', 'load_oracle']
