"""E0, the audit of the instruments: generators with one known defect each, and whether the suite sees it."""
