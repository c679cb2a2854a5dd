"""Tensors made visible: grids of pictures, depth as colours, frames as video."""
