"""Show values in a notebook, at a prompt and in print: cards with a few facts and thumbnails."""
