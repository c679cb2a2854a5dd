"""Side-by-side timings, one command each; docs/benchmarks.md records results with machine and date."""
