"""Test programs that generate images: simulated servers and batches in virtual time."""
