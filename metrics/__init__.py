"""Numbers that say how good generated images and shapes are; functions of arrays and callables, never of a network."""
