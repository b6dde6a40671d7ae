"""What servers are asked outside of calls."""

import asyncio

from virtual_fleet import fleet_of, jobs, servers
from vllm_image_core.testing.virtual_time import run


def test_the_health_of_an_idle_fleet_is_checked_and_not_remembered() -> None:
    members = servers(1, 1)

    async def main() -> list[str]:
        fleet = fleet_of(members)
        assert await fleet.health_check()
        await asyncio.sleep(60)
        members[0].go_down()
        assert await fleet.health_check()
        return [member.state for member in fleet.members]

    assert run(main()) == ["open", "closed"]


def test_the_number_of_requests_of_other_clients_is_known() -> None:
    members = servers(1, 1, tells_metrics=True)

    async def main() -> list[int | None]:
        ours, theirs = fleet_of(members), fleet_of(members[:1])
        calls = [asyncio.create_task(theirs.generate_image(each)) for each in jobs(3, sizes=[5.0])]
        await asyncio.sleep(1)
        told = [await ours.requests_of_others()]
        calls += [asyncio.create_task(ours.generate_image(each)) for each in jobs(2, sizes=[1.0])]
        await asyncio.sleep(1)
        told.append(await ours.requests_of_others())
        await asyncio.gather(*calls)
        told.append(await ours.requests_of_others())
        return told

    assert run(main()) == [3, 3, 0]


def test_servers_that_do_not_report_have_an_unknown_number_of_other_requests() -> None:
    members = servers(1, 1)

    async def main() -> int | None:
        return await fleet_of(members).requests_of_others()

    assert run(main()) is None
