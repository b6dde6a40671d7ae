"""A typed client for the image API of vLLM-Omni."""
