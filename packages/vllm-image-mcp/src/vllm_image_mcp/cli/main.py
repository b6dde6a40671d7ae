"""The command line: the MCP server for hosts, and the same jobs for a person at a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from vllm_image_core.models.settings import QUALITIES
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.limits import OUTPUT_FORMATS
from vllm_image_core.text import path_text, shown

from vllm_image_mcp.cli.batch_commands import COMMANDS
from vllm_image_mcp.cli.command import run
from vllm_image_mcp.cli.edit import edit_command
from vllm_image_mcp.error_messages import diagnosis, sentence
from vllm_image_mcp.options import with_settings
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.startup import check_profiles, errors_as_sentences, start_logging
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from vllm_image_core.fleet.health import Health
    from vllm_image_core.fleet.server import ServerReport
    from vllm_image_core.models.profile import Profile
    from vllm_image_core.models.registry import Registry
    from vllm_image_core.requests.generated_image import GeneratedImage

__all__ = ["main"]

_QUALITY = click.option(
    "--quality",
    type=click.Choice(QUALITIES, case_sensitive=False),
    help="Settings for what is left out; standard is the model's own.",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vllm-image-mcp")
@with_settings
def main(settings: Settings) -> None:
    """Pictures from a self-hosted vLLM-Omni server.

    Without a command this is an MCP server on stdin and stdout, for an MCP host to start. Every option can
    also stand in the environment: VLLM_IMAGE_URL, VLLM_IMAGE_OUTPUT_DIR, VLLM_IMAGE_API_KEY and so on.
    """
    start_logging(settings)
    if click.get_current_context().invoked_subcommand is None:
        check_profiles(settings)
        from vllm_image_mcp.server import serve  # noqa: PLC0415 - commands need no MCP

        serve(settings)


@main.command()
@click.argument("prompt")
@click.option("--negative-prompt", metavar="TEXT", help="What to avoid.")
@click.option("--width", type=int, metavar="PIXELS")
@click.option("--height", type=int, metavar="PIXELS")
@click.option("--aspect-ratio", metavar="W:H", help='Such as "16:9"; wins over width and height.')
@click.option("--steps", "num_inference_steps", type=int, metavar="N", help="Inference steps.")
@click.option("--guidance-scale", type=float, metavar="X")
@click.option("--seed", type=int, metavar="N")
@click.option("--filename", metavar="NAME")
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS, case_sensitive=False),
    help="png, unless told otherwise; it alone keeps every pixel.",
)
@_QUALITY
@click.option("--fresh", is_flag=True, help="Make it anew, also when it was made with that seed before.")
@with_settings
def generate(settings: Settings, prompt: str, *, fresh: bool, **parameters: Any) -> None:  # noqa: ANN401 - click's options, by name
    """Make one picture; with a seed, the one that is there already is taken."""
    run(settings, lambda state: _generate(state, ImageRequest(prompt=prompt, **parameters), fresh=fresh))


@main.command()
@click.argument("name", required=False)
@click.option(
    "--check", "file", metavar="FILE", type=click.Path(path_type=Path), help="Check profiles of your own."
)
@with_settings
def models(settings: Settings, name: str | None, file: Path | None) -> None:
    """List the models whose settings are known, or show one of them with the sources of its numbers."""
    from vllm_image_core.models.loader import own_profiles  # noqa: PLC0415 - the server starts without it

    from vllm_image_mcp.cli import model_card  # noqa: PLC0415 - likewise

    with errors_as_sentences():
        registry = State(settings).registry
        if file is not None:
            known = {profile.model: profile for profile in (*registry, registry.fallback)}
            for profile in own_profiles(file, known=known):
                click.echo(f"{profile.model} is right.")
        if name is not None:
            click.echo(model_card.whole(_find_profile(registry, name)))
        if name is None and file is None:
            for profile in registry:
                click.echo(model_card.brief(profile))


def _find_profile(registry: Registry, name: str) -> Profile:
    profile = registry.by_name(name)
    if profile is None:
        raise click.UsageError(f"No profile is named {shown(name)}; `vllm-image-mcp models` lists them.")
    return profile


@main.command()
@with_settings
def health(settings: Settings) -> None:
    """Tell whether the server can make pictures.

    The exit status is 1 when it cannot.
    """
    run(settings, _health)


async def _generate(state: State, request: ImageRequest, *, fresh: bool) -> int:
    from vllm_image_mcp.cli.single_image import generate_at_shell  # noqa: PLC0415 - the server starts without it

    made = await generate_at_shell(state, request, fresh=fresh)
    if isinstance(made, int):
        return made
    _show(made, notes=state.notes)
    return 1 if made.spilled else 0


async def _health(state: State) -> int:
    found = await state.studio.health()
    _show_health(found)
    if len(state.studio.servers) > 1:
        _show_servers(state.studio.servers)
    return 0 if found.status == "healthy" else 1


def _show(image: GeneratedImage, *, notes: tuple[str, ...]) -> None:
    click.echo(path_text(image.path))
    facts = {
        "size": image.request.size,
        "seed": image.seed,
        "model": image.model,
        "steps": image.request.num_inference_steps,
        "time": f"{image.seconds:.2f} s",
    }
    for name, fact in facts.items():
        click.echo(f"  {name:<6} {fact}")
    for note in (*notes, *image.notes):
        click.echo(f"  note   {note.replace('fresh makes', '--fresh makes')}")


def _show_health(found: Health) -> None:
    facts = {
        "server": found.server_url,
        "status": found.status,
        "model": found.model or "none",
        "answer": "none" if found.latency_seconds is None else f"in {found.latency_seconds * 1000:.0f} ms",
        "version": found.version or "unknown",
    }
    for name, fact in facts.items():
        click.echo(f"{name:<8} {fact}")
    if why := diagnosis(found):
        click.echo(why, err=True)


def _show_servers(servers: tuple[ServerReport, ...]) -> None:
    """A line for each of several servers, and what keeps one from being used as the others."""
    for each in servers:
        state = {"closed": "in", "trial": "in again", "open": "out", "unknown": "not asked"}[each.state]
        click.echo(f"  {each.url}  {state}  {each.model or 'no model'}  {each.version or 'unknown version'}")
        if why := each.note or (sentence(each.error) if each.error else ""):
            click.echo(why, err=True)


main.add_command(edit_command(run, lambda image, notes: _show(image, notes=notes)))
for _command in COMMANDS:
    main.add_command(_command)


if __name__ == "__main__":
    main()
