"""Show values in notebooks, at the prompt and in `print` as cards with a few facts and thumbnails."""
