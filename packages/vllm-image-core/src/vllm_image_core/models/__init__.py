"""Model profiles: load them from TOML and find the one that fits what a server serves."""
