"""Add this server to the configuration of MCP hosts: through their own commands, or in their files."""
