"""Provenance: write how an image was made into its file, and read it back, even from other tools' files."""
