"""Draw, edit, colour and encode the simulated images."""
