"""Volume rendering: from a radiance field and rays to features, depth and opacity. Knows cameras; knows no network."""
