"""The command line: one module per command, and the parts that commands share."""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from typing import Any, Final

import click

from vllm_image_mcp.command_line import Group
from vllm_image_mcp.options import GivenOptions, GroupedOptions, with_options
from vllm_image_mcp.startup import check_output_folder, check_profiles, start_logging

_COMMANDS: Final = {
    "batch": "Generate an image for each row of a file.",
    "batches": "List the batches in the output folder, newest first.",
    "cancel": "Cancel a batch, or all with --all; finished images are kept.",
    "completion": "Print the script that completes commands and options in SHELL.",
    "dataset": "Generate an image for each row of large files, here or on a cluster.",
    "doctor": "Check everything that an image needs, and show how to fix what is wrong.",
    "edit": "Edit an image, or combine up to 4, as PROMPT says.",
    "estimate": "Estimate the time and GPU memory of N images, without generating any.",
    "export": "Copy images into another folder, and convert them if asked.",
    "find": "Find earlier images in the output folder, newest first.",
    "gallery": "Write the images of DIR as one page for the browser, and print its path.",
    "generate": "Generate one image, or several with -n.",
    "health": "Check whether the server can generate images.",
    "init": "Add this server to the configuration of an MCP host.",
    "models": "List the known models, or show one with its sources.",
    "rate": "Keep or reject images, and print where they are now.",
    "recall": "Show how an image was made, as recorded in its file.",
    "resume": "Generate the missing images of an interrupted batch.",
    "serve": "Serve MCP on stdin and stdout, or over HTTP with --transport http.",
    "styles": "List the saved styles; show, save or remove one.",
    "sweep": "Generate variations of one or several prompts: --count 4, or --sweep guidance_scale=3,4,5.",
}
"""The commands, with the first sentence of their help; each is defined in the module of its name."""

OTHER_WORDS: Final = {
    **dict.fromkeys(("create", "make", "image", "draw"), "generate PROMPT"),
    **dict.fromkeys(("grid", "variations"), "sweep PROMPT --count 4 --grid grid.jpg"),
    **dict.fromkeys(("upscale", "enlarge"), "edit PROMPT IMAGE --upscale 2"),
    **dict.fromkeys(("outpaint", "extend", "uncrop"), "edit PROMPT IMAGE --outpaint 16:9"),
    **dict.fromkeys(("inpaint", "mask"), "edit PROMPT IMAGE --mask FILE"),
    **dict.fromkeys(("stop", "kill", "abort"), "cancel ID, or cancel --all"),
    **dict.fromkeys(("delete", "remove", "rm", "reject"), "rate reject IMAGE"),
    **dict.fromkeys(("keep", "like", "favourite", "favorite"), "rate keep IMAGE"),
    **dict.fromkeys(("list", "ls", "search", "history"), "find, or batches"),
    **dict.fromkeys(("info", "show", "metadata", "inspect"), "recall IMAGE"),
    **dict.fromkeys(("status", "ping", "check"), "health, or doctor"),
    **dict.fromkeys(("setup", "install", "configure", "config"), "init"),
}
"""Commands that people expect, with how ours does the same."""

_CHECKING_SETTINGS: Final = frozenset({"doctor"})
"""Commands that report settings that cannot be used as part of their output."""


class _Commands(GroupedOptions, Group):
    """A group that imports a command when it is called, and all of them to list them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's own
        """Run the command line, or answer a shell that asks for completions."""
        if "_VLLM_IMAGE_MCP_COMPLETE" in os.environ:
            self._load("completion")  # defines how PowerShell asks
        # pydantic would look for plugins in every installed package; none of them is for this program.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        # click removes colours where there is no terminal, but does not know https://no-color.org.
        colours = {"color": False} if os.environ.get("NO_COLOR") else {}
        return super().main(*args, **{**colours, **kwargs})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of all commands."""
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's own
        """Write the names of all commands and what they do, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; for an unknown name, import all of them, so that similar names are suggested."""
        self._load(*([cmd_name] if cmd_name in _COMMANDS else _COMMANDS))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; for another program's word, say which command does that here."""
        ours = OTHER_WORDS.get(args[0].casefold())
        if ours is None or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"No such command '{args[0]}'. Use: {ours}.", ctx)

    def _load(self, *names: str) -> None:
        for name in names:
            if name not in self.commands:
                self.add_command(getattr(import_module(f"{__name__}.{name}"), name))


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="vllm-image-mcp")
@partial(with_options, serves_mcp=True)
def main(given: GivenOptions) -> None:
    """Generate and edit images on a self-hosted vLLM-Omni server.

    Without a command, this serves MCP on stdin and stdout; an MCP host starts it that way. You can also set
    every option in the environment: VLLM_IMAGE_URL, VLLM_IMAGE_OUTPUT_DIR, VLLM_IMAGE_API_KEY and so on.
    """
    command = click.get_current_context().invoked_subcommand
    if command in _CHECKING_SETTINGS:
        return
    settings = given.settings()
    start_logging(settings)
    if command is None:
        check_profiles(settings)
        check_output_folder(settings)
        from vllm_image_mcp.server import serve  # noqa: PLC0415 - commands need no MCP

        serve(settings)
