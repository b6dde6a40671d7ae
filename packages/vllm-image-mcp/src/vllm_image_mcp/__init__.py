"""An MCP server and a command line that make pictures on a vLLM-Omni server."""
