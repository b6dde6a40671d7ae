"""Generate and edit images on a vLLM-Omni server, over MCP or at a shell."""
