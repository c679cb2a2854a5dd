"""What a program needs before it touches a tensor: configurations, errors, run folders, durable files, the log, units, located files.

Nothing in this package imports torch.
"""
