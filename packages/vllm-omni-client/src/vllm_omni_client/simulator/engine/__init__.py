"""Simulate the engine: turn requests into jobs, run them one batch at a time, and apply the model's rules."""
