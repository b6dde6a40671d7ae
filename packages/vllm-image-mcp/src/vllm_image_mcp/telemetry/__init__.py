"""Measure what a server does: metrics for Prometheus, and spans for OpenTelemetry."""
