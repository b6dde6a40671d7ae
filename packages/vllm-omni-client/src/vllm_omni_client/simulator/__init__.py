"""A stand-in vLLM-Omni image server: the contract of 0.30.0, pictures drawn by a procedure, no GPU.

For demonstrations and for tests. `create_app` gives an ASGI application to run in the same process,
`simulator.serving.served` a server on a port for the length of a block, and the command
`vllm-omni-simulator` one that serves until interrupted. Needs the extra `vllm-omni-client[simulator]`.
"""

try:
    from vllm_omni_client.simulator.faults.fault import Fault, FaultPlan
    from vllm_omni_client.simulator.http.app import Simulation, create_app
    from vllm_omni_client.simulator.settings import SimulatorSettings
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"The simulator needs the package {_error.name!r}, which is not installed. "
        'Install it with: pip install "vllm-omni-client[simulator]"',
        name=_error.name,
    ) from _error

__all__ = ["Fault", "FaultPlan", "Simulation", "SimulatorSettings", "create_app"]
