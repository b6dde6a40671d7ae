"""Simulate a vLLM-Omni image server: the contract of 0.30.0 and drawn images, without a GPU.

Use it for demonstrations and tests. `create_app` returns an ASGI application to run in the same process,
`simulator.http.serving.serve_in_thread` runs a server on a port for the duration of a `with` block, and the
command `vllm-omni-simulator` serves until it is interrupted. Needs the extra `vllm-omni-client[simulator]`.
"""

try:
    from vllm_omni_client.simulator.faults.fault import Fault, FaultPlan
    from vllm_omni_client.simulator.http.app import Simulation, create_app
    from vllm_omni_client.simulator.settings import SimulatorSettings
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"The simulator needs the package {error.name!r}, which is not installed. "
        'Install it with: pip install "vllm-omni-client[simulator]"',
        name=error.name,
    ) from error

__all__ = ["Fault", "FaultPlan", "Simulation", "SimulatorSettings", "create_app"]
