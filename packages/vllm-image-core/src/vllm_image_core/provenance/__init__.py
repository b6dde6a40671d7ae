"""Provenance: write how an image was made into its file, and read it back, also from other tools' files."""
