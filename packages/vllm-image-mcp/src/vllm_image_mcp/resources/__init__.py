"""MCP resources and prompts: images, batches, model profiles and the gallery."""
