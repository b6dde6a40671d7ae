"""Several servers as one: the server pool, its scheduler, failover and circuit breakers."""
