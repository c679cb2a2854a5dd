"""Failures that no loss shows, looked for while training runs: flat or empty scenes, repeated ones, a discriminator that has won.

Every `monitors.every_kimg` the averaged generator shows the same scenes (the first ones that metrics look at), rendered with as many samples
as in training; `measure` (measures.py) turns that look (look.py), and what training reported, into `Measures`, and alarms.py says which of these lie outside
what is expected. Values join the statistics of the tick as Monitor/<name>, and so reach stats.jsonl and TensorBoard in the line and at the step of
everything else that is known of that moment; another file would have to be joined with it again. An alarm is a line on the console (and in
log.txt) when it begins and one when it ends.

Nothing here is read by training, and nothing is part of its state: a run with monitors is bit for bit the run without. A resumed run begins
without alarms and says those that still hold at its first check.

Names and bounds: docs/training.md, Monitors.
"""
