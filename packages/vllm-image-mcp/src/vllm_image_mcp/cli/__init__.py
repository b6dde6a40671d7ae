"""The command line: one module per command, and the parts that commands share."""
