"""Durable batches: record, run, resume and report many requests."""
