"""Store images in the output folder, and keep a SQLite index of them."""
