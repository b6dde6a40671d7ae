"""Serve the simulated server over HTTP: routes, request bodies, replies, errors and metrics."""
