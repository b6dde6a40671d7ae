"""Tool results: build what the tools publish, with previews and links."""
