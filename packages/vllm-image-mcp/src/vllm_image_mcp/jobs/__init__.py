"""Running batches: begin and track them, wait for them, and report their progress."""
