"""Begin and track batches, wait for them, and report their progress."""
