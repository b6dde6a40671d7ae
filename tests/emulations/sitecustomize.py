"""Emulate Windows in every Python process that has this folder in PYTHONPATH; see `windows_like`."""

import windows_like  # noqa: F401 - importing it is enough
