"""Connect hosts: over stdin and stdout, or over HTTP."""
