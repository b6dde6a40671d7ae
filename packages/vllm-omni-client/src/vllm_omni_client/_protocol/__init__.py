"""The protocol without I/O: endpoints, call flows, retries, budgets and error replies."""
