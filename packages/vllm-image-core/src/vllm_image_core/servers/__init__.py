"""The servers of a fleet: how many requests each is given, and which of them does what."""
