"""The MCP tools: their parameters and schemas, and what each call does."""
