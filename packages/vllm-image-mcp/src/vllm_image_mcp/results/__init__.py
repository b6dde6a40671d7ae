"""Tool results: build what the tools return, with previews and links."""
