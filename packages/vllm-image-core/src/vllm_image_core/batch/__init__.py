"""Batches that survive: their journal, their leases, and how each request comes to its end."""
