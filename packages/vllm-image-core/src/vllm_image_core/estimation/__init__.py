"""Estimation: predict the time and memory that images take, and learn from those that were generated."""
