"""The protocol without I/O: endpoints, flows, retries, budgets and error replies."""
