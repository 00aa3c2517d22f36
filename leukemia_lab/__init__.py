"""Honest experiments on single-cell blood microscopy."""

__version__ = "0.1.0"
