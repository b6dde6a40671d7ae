"""The stdio transport: read a host's lines as messages and write the replies."""
