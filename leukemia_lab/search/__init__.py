"""Searches: the space on the command line, the Optuna study that proposes runs, and the pruning of bad ones."""
