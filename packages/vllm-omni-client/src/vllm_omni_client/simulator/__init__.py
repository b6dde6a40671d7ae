"""A stand-in vLLM-Omni server."""
