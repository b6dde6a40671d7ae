"""Emulate Windows in every Python process that has this folder in PYTHONPATH; see `windows_like`."""

import windows_like

windows_like.emulate()
