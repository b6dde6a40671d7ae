"""Use several servers as one: server pool, scheduler, failover and circuit breakers."""
