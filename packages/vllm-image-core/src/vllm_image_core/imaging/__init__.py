"""Image files: check, read and write PNG, JPEG and WebP, and draw previews."""
