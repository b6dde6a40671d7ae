"""Durable batches: record, run, resume and report on many requests."""
