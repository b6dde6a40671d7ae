"""The three formats of pictures, walked and spliced without decoding a pixel."""
