"""Image bytes: check formats and sizes, walk PNGs, and save files atomically."""
