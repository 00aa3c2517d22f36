"""Sweeps: jobs as plain values, the loop that gives them out, where they run, the table of their runs."""
