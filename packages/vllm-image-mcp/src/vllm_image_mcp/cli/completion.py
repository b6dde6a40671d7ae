"""The `completion` command: print a script with which a shell completes our commands and options."""

from __future__ import annotations

import os
from typing import ClassVar, Final

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, get_completion_class

from vllm_image_mcp.command_line import echo
from vllm_image_mcp.options import GroupedOptions

PROGRAM: Final = "vllm-image-mcp"
COMPLETE: Final = "_VLLM_IMAGE_MCP_COMPLETE"
"""The environment variable by which a shell's script asks for completions."""

_WORDS: Final = "_VLLM_IMAGE_MCP_WORDS"
_WORD: Final = "_VLLM_IMAGE_MCP_WORD"


@add_completion_class
class PowerShellComplete(ShellComplete):
    """Completion for PowerShell, which click lacks."""

    name: ClassVar[str] = "powershell"
    source_template: ClassVar[str] = f"""\
Register-ArgumentCompleter -Native -CommandName %(prog_name)s -ScriptBlock {{
    param($word, $command, $position)
    $env:%(complete_var)s = 'powershell_complete'
    $env:{_WORDS} = ($command.CommandElements | ForEach-Object {{ $_.ToString() }}) -join "`n"
    $env:{_WORD} = $word
    try {{
        %(prog_name)s | ForEach-Object {{
            $value, $help = $_ -split "`t", 2
            [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $help)
        }}
    }} finally {{
        Remove-Item Env:%(complete_var)s, Env:{_WORDS}, Env:{_WORD}
    }}
}}
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that one."""
        words, incomplete = os.environ.get(_WORDS, "").split("\n")[1:], os.environ.get(_WORD, "")
        return (words[:-1] if incomplete and words else words), incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return one line: the completion, a tab, and its help, which PowerShell needs."""
        return f"{item.value}\t{item.help or item.value}"


@click.command(cls=GroupedOptions)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    bash:        vllm-image-mcp completion bash >> ~/.bashrc
    zsh:         vllm-image-mcp completion zsh >> ~/.zshrc
    fish:        vllm-image-mcp completion fish > ~/.config/fish/completions/vllm-image-mcp.fish
    PowerShell:  vllm-image-mcp completion powershell >> $PROFILE
    """  # noqa: D301 - click reads the backspace character
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"This version of click cannot complete in {shell}.")
    source = kind(context.find_root().command, {}, PROGRAM, COMPLETE).source()
    echo(source.rstrip("\n"))
