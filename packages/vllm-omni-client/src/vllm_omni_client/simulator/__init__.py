"""A stand-in vLLM-Omni image server: the contract of 0.30.0, pictures drawn by a procedure, no GPU.

For demonstrations and for tests. `create_app` gives an ASGI application to run in the same process; the
command `vllm-omni-simulator` serves it on a port. Needs the extra `vllm-omni-client[simulator]`.
"""

from vllm_omni_client.simulator.app import create_app
from vllm_omni_client.simulator.settings import SimulatorSettings

__all__ = ["SimulatorSettings", "create_app"]
