"""Tasks: which networks see what. All run under the one loop."""
