"""Generate images: carry one request from its check to its saved file."""
