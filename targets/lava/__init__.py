"""Spike graphs as Lava processes."""
