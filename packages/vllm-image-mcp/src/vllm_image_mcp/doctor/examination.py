"""Run the checks in order: settings, installation, folder, servers, and one real image."""

import asyncio
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vllm_image_core.errors import BadProfile, InvalidRequest
from vllm_image_core.models.registry import Registry
from vllm_omni_client.errors import InvalidParameter

from vllm_image_mcp.doctor.finding import Finding
from vllm_image_mcp.doctor.folder_checks import check_folder
from vllm_image_mcp.doctor.image_check import check_image
from vllm_image_mcp.doctor.installation_checks import check_installation
from vllm_image_mcp.doctor.server_checks import check_server
from vllm_image_mcp.doctor.server_facts import ask_server
from vllm_image_mcp.doctor.setting_checks import (
    SettingInUse,
    check_problems,
    check_secrets,
    settings_in_use,
)
from vllm_image_mcp.error_messages import next_step
from vllm_image_mcp.options import SettingProblem
from vllm_image_mcp.setting_sources import GivenValue
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.state import State
from vllm_image_mcp.studio_factory import create_diagnostic_client, create_studio, gpu_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The findings of all checks.

    Attributes:
        settings: Every setting with its source; empty if they cannot be used.
        findings: The findings, in the order of the checks.
    """

    settings: Sequence[SettingInUse]
    findings: Sequence[Finding]

    @property
    def is_healthy(self) -> bool:
        """Whether images can be generated and saved."""
        return all(each.status != "failed" for each in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do if no image can be generated or saved.

    Attributes:
        fixes: The fix for each server that cannot be reached, by its URL.
        folder_problem: Why images cannot be saved, with the fix; None if they can.
    """

    fixes: Mapping[str, str]
    folder_problem: str | None


def report_problems(problems: Sequence[SettingProblem]) -> Report:
    """Report settings that cannot be used; only the installation can be checked then."""
    return Report(settings=(), findings=(*check_problems(problems), *check_installation()))


async def examine(state: State, sources: Mapping[str, GivenValue], *, with_image: bool) -> Report:
    """Run every check.

    Args:
        state: The settings in use; its studio is not needed.
        sources: Where each setting that is given comes from.
        with_image: Whether to generate one image on each server that has passed the other checks.
    """
    settings = state.settings
    findings = [*check_secrets(settings, sources), *check_installation()]
    findings += await asyncio.to_thread(lambda: list(check_folder(state.folder)))
    try:
        registry = state.registry
    except BadProfile as error:
        fix = next_step(error)
        findings.append(Finding(check="profiles", status="failed", detail=error.message, fix=fix))
        registry = Registry.builtin()
    for url, found in (await check_servers(settings, registry)).items():
        findings += found
        if with_image and all(each.status != "failed" for each in found):
            one = settings.model_copy(update={"vllm_url": url})
            findings.append(await check_image(functools.partial(create_studio, one, registry=registry)))
    return Report(settings=settings_in_use(settings, sources), findings=findings)


async def find_advice(state: State) -> Advice:
    """Find out what to do if no image can be generated or saved, without generating one."""
    folder, servers = await asyncio.gather(
        asyncio.to_thread(lambda: list(check_folder(state.folder))),
        check_servers(state.settings, state.registry),
    )
    return Advice(
        fixes={
            each.subject: each.fix
            for each in itertools.chain(*servers.values())
            if (each.check, each.status) == ("connection", "failed")
        },
        folder_problem=next(
            (f"{each.detail} {each.fix}" for each in folder if each.status == "failed"), None
        ),
    )


async def check_servers(settings: Settings, registry: Registry) -> Mapping[str, Sequence[Finding]]:
    """Return the findings about each server by its URL; all servers are asked at the same time."""
    connect = functools.partial(create_diagnostic_client, settings)
    total_vram_gb = (await asyncio.to_thread(gpu_of, settings)).total_vram_gb

    async def check(url: str) -> Sequence[Finding]:
        try:
            facts = await ask_server(url, connect)
        except (InvalidParameter, InvalidRequest) as error:
            fix = next_step(error)
            return [Finding(check="connection", status="failed", subject=url, detail=error.message, fix=fix)]
        return list(
            check_server(
                facts,
                registry=registry,
                has_key=settings.key is not None,
                total_vram_gb=total_vram_gb,
                wanted=settings.model,
            )
        )

    urls = settings.vllm_urls
    return dict(zip(urls, await asyncio.gather(*map(check, urls)), strict=True))
