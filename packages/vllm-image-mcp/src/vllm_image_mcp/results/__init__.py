"""Build what the tools return, with previews and links."""
