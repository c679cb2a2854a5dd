"""Feature planes: points on them, the small network behind them, and rays through them, the last as one kernel."""

from custom_ops.triplane.field import TriplaneField
from custom_ops.triplane.points import decode_planes, sample_planes
from custom_ops.triplane.rays import is_fused, render_planes

__all__ = ['TriplaneField', 'decode_planes', 'is_fused', 'render_planes', 'sample_planes']
