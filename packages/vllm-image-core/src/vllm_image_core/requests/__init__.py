"""Requests: what a caller asks for, checked and resolved into what is sent."""
