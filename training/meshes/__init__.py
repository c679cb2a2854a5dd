"""A radiance field's surface as a triangle mesh: density on a grid, marching cubes, files."""
