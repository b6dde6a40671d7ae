"""Show a folder's images on one offline page."""
