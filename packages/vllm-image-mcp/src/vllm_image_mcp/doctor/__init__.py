"""Diagnose an installation: one function per check, each of which returns a finding with its fix."""
