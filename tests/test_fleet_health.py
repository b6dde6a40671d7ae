"""The health of one server, and of each of several."""

from contextlib import ExitStack
from pathlib import Path

from vllm_image_core import Studio
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import base_url, open_listener, serve_in_thread


async def test_in_a_fleet_each_server_reports_its_own_health(tmp_path: Path) -> None:
    with ExitStack() as stack:  # the address of the closed one stays taken
        well = stack.enter_context(serve_in_thread(SimulatorSettings()))
        closed = stack.enter_context(open_listener("127.0.0.1", 0, refusing=True))
        address = base_url(closed)
        async with Studio([well, address], output_dir=tmp_path) as studio:
            health = await studio.health()
    assert health.status == "healthy"
    assert [(each.server_url, each.status) for each in health.servers] == [
        (well, "healthy"),
        (address, "unreachable"),
    ]
    assert health.servers[0].model == "black-forest-labs/FLUX.2-klein-4B"
    assert health.servers[1].error is not None


async def test_a_single_server_has_no_list_of_servers(tmp_path: Path) -> None:
    with serve_in_thread(SimulatorSettings()) as url:
        async with Studio(url, output_dir=tmp_path) as studio:
            assert (await studio.health()).servers == ()
