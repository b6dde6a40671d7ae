"""The output folder on disk: files, names, the SQLite index, and free space."""
