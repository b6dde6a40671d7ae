"""Model profiles: load them from TOML files and find the one for the model that a server has loaded."""
