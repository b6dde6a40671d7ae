"""The users who share a server: their tokens, limits and states."""
