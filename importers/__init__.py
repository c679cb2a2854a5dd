"""Published weights, brought to this project's names and rules. Nothing here executes what it reads."""
