"""Generation: carry one request from resolved to saved."""
