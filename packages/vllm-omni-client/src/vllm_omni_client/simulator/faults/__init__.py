"""Faults: what goes wrong, with which requests, and how it is carried out."""
