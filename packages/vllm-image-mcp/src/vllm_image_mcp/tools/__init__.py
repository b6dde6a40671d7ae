"""Define the MCP tools: their signatures, parameters and schemas, and what each call does."""
