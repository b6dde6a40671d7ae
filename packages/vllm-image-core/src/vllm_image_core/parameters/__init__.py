"""The parameters of a request: their bounds, and how each becomes what a model reads."""
