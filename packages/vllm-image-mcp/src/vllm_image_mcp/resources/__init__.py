"""Serve MCP resources, prompts and completions, and the gallery."""
