"""Image files: PNG, JPEG and WebP read, checked and written, and images drawn small."""
