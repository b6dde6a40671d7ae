"""The folder on disk: names, space, and the index of what lies there."""
