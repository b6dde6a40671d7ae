"""Running batches: track them, wait for them, report progress, ask for consent."""
