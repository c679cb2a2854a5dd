"""Cameras: the type, the strangers' conventions, how cameras are drawn, moved and turned into rays. Knows no image and no network."""
