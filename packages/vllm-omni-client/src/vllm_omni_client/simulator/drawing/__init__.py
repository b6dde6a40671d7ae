"""Simulated images: draw, edit, colour and encode them."""
