"""Inject faults: define them, choose the requests they affect, and break replies and connections."""
