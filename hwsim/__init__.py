"""Run a spike graph bit for bit and count what it costs."""
