"""Toyworld: procedural scenes of eight classes whose pose, depth, normals and class are known exactly."""
