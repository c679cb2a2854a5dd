"""Light along rays in plain PyTorch, for any field: where samples lie, how much of each is seen, and what comes of it.

`render_rays` is the definition that the kernels for triplane fields (custom_ops/triplane) are held to.
"""

from custom_ops.volume.render_rays import LightRule, RayResult, render_rays

__all__ = ['LightRule', 'RayResult', 'render_rays']
