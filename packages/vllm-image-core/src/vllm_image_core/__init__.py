"""Pictures from a vLLM-Omni server, in a notebook."""
