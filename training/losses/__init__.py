"""Losses: functions of tensors and callables that return one term per sample, [N]; they know cameras and rendering, never networks."""
