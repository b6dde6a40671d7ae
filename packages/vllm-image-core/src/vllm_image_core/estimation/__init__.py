"""Estimates: predict the time and memory of images, and learn from those that were generated."""
