"""The parts of httpx that both clients use: clients, timeouts, deadlines and errors."""
