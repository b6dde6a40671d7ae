"""The simulated GPU: jobs, model rules, and the state of the engine."""
