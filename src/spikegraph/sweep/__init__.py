"""Accuracy against additions and latency, over several settings of a recipe."""
