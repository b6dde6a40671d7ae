"""The command line: one module per command, with what the commands share."""
