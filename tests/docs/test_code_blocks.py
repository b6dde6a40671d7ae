"""Every code block of every page is run or parsed; a language that is neither is listed with its reason."""

import ast
import asyncio
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from types import CodeType

import click
import pytest
import trustme
from sybil import Document
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from vllm_image_mcp.cli import main as command_line
from vllm_image_mcp.settings import Settings

DOCUMENTED_URL = "http://localhost:6655"
DEADLINE_SECONDS = 60.0
UNLABELLED = ""  # commands, one a line
RUN_OR_PARSED = frozenset({"python", "console", UNLABELLED, "json", "toml"})
NOT_RUN = {
    "powershell": "the shell of Windows; its commands are the same as in the console blocks",
    "mermaid": "a diagram; GitHub draws it",
    "text": "shows a layout or a message; there is nothing to run",
}
HOSTS = frozenset({"claude", "codex", "gemini"})
"""The user's MCP hosts; what they would start is checked as a command, and an address is not."""
NO_COMMANDS_OF_OURS = {
    "cd": "a step in the user's shell",
    "gemini": "the user's MCP host, likewise",
    "git": "fetches the repository",
    "pip": "installs from the network",
    "uv": "installs from the network",
    "vllm": "the real server; needs a GPU",
}
RUN_UNTIL_STOPPED = {
    "vllm-omni-simulator": "serves until it is stopped; its options are compared with its help"
}
FENCE = re.compile(r" *(`{3,}|~{3,})")
CODE = re.compile(
    r"""\ *(?:
        assert\ \S+.*[\w)\]]$              # assert x
      | (?:async\ )?with\ .*:$              # with x as y:
      | (?:async\ )?(?:for|def)\ .*:$       # for x in y:
      | (?:class|if|while|try|else)\b.*:$
      | await\ \w
      | from\ [\w.]+\ import\ [\w*(]
      | import\ [\w.]+(?:\ as\ \w+)?$
      | [\w.,\[\]\ ]+\ =\ (?:await\ )?[\w.\["'({]\S*.*[\w)\]}"']$
      | \w[\w.]*\(.*\)$                   # f(x)
      | [$]\ \w
    )""",
    re.VERBOSE,
)
"""A line of Python or of a console: nothing that stands in a sentence."""
BEFORE_A_COMMAND = ("pip install uv &&", "uv run", "uvx")


@dataclass(frozen=True, slots=True)
class Block:
    """One code block."""

    language: str
    source: str
    line: int


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a console block, and what the page says that it prints."""

    command: str
    printed: str


def blocks_of(page: Path, *languages: str) -> list[Block]:
    text = page.read_text("utf-8")
    document = Document(text, str(page))
    lexer = FencedCodeBlockLexer(language=".*")
    found = [
        Block(region.lexemes["language"], region.lexemes["source"], text.count("\n", 0, region.start) + 1)
        for region in lexer(document)
    ]
    return [block for block in found if not languages or block.language in languages]


def steps_of(page: Path) -> Iterator[Step]:
    for block in blocks_of(page, "console"):
        first, *rest = re.split(r"^\$ ", block.source, flags=re.MULTILINE)
        assert not first, f"line {block.line}: a console block begins with '$ '"
        for step in rest:
            command, _, printed = step.partition("\n")
            yield Step(command, printed.strip())
    for block in blocks_of(page, UNLABELLED):
        for command in block.source.splitlines():
            yield Step(command, "")


def test_every_language_is_run_or_listed_with_a_reason(page: Path) -> None:
    unknown = [block for block in blocks_of(page) if block.language not in RUN_OR_PARSED | NOT_RUN.keys()]

    assert unknown == []


def test_code_is_in_fences_and_headings_have_blank_lines_around_them(page: Path) -> None:
    lines = lines_outside_of_fences(page)

    assert [(number, line) for number, line in lines if CODE.match(line)] == []
    headings = [number for number, line in lines if line.startswith("#")]
    texts = dict(lines)
    assert [number for number in headings if texts.get(number - 1) or texts.get(number + 1)] == []


def lines_outside_of_fences(page: Path) -> list[tuple[int, str]]:
    """The lines of a page with their numbers, without those of its code blocks and their fences."""
    lines: list[tuple[int, str]] = []
    fence = ""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        mark = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif mark:
            fence = mark[1]
        else:
            lines.append((number, line))
    return lines


@pytest.mark.parametrize(
    "text",
    [
        "assert again.reused",
        "    again = await studio.generate(7)",
        'async with Studio("http://localhost:6655") as studio:',
        "from vllm_image_core import Studio",
        "import asyncio",
        "[found] = page.pictures",
        "$ uvx vllm-image-mcp health",
        'with OmniClient("http://localhost:6655") as client:',
        "print(image.path)",
    ],
)
def test_code_outside_fences_is_noticed(text: str) -> None:
    assert CODE.match(text)


@pytest.mark.parametrize(
    "text",
    [
        "from each of them, and import what is needed",
        "with a seed, the picture is the same",
        "- a list: `x = 1`",
        "| a = 1 | b |",
        "  continued (here) = there",
        "for each picture",
        "print it",
    ],
)
def test_a_sentence_is_not_taken_for_code(text: str) -> None:
    assert not CODE.match(text)


def test_the_python_of_a_page_runs_like_one_notebook(
    page: Path, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    authority.cert_pem.write_to_path("company-ca.pem")
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path("client.pem")
    names: dict[str, object] = {"__name__": "__main__"}

    with asyncio.Runner() as runner:
        for block in blocks_of(page, "python"):
            code = compiled(block, page, server_url)
            if (waiting := eval(code, names)) is not None:  # noqa: S307 - our own page
                runner.run(asyncio.wait_for(waiting, DEADLINE_SECONDS))
        runner.run(closed(names))


def compiled(block: Block, page: Path, server_url: str) -> CodeType:
    """The block as code that may wait, whose line numbers are the page's."""
    source = "\n" * block.line + block.source.replace(DOCUMENTED_URL, server_url)
    return compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def closed(names: Mapping[str, object]) -> None:
    """Close what a notebook keeps open until its kernel ends."""
    for value in names.values():
        if not inspect.isclass(value) and inspect.iscoroutinefunction(
            close := getattr(value, "aclose", None)
        ):
            await close()


def test_the_json_of_a_page_is_json(page: Path) -> None:
    for block in blocks_of(page, "json"):
        json.loads(block.source)


def test_the_toml_of_a_page_is_toml(page: Path) -> None:
    for block in blocks_of(page, "toml"):
        tomllib.loads(block.source)


def test_hosts_are_told_to_start_one_of_our_commands(page: Path) -> None:
    for server in started_by_hosts(page):
        arguments = [server["command"], *server.get("args", [])]
        assert_the_arguments_are_known(arguments)
        assert set(server.get("env", {})) <= environment_names()


def started_by_hosts(page: Path) -> Iterator[dict[str, str]]:
    loaded = [json.loads(block.source) for block in blocks_of(page, "json")]
    loaded += [tomllib.loads(block.source) for block in blocks_of(page, "toml")]
    for document in loaded:
        for key in {"mcpServers", "mcp_servers", "servers"} & document.keys():
            if isinstance(document[key], dict):  # and not the servers of a result
                yield from document[key].values()


def environment_names() -> set[str]:
    return set(map(Settings.variable, Settings.model_fields))


def assert_the_arguments_are_known(command: list[str]) -> None:
    program = ["uvx", "vllm-image-mcp"], ["python", "-P", "-m", "vllm_image_mcp.server"], ["vllm-image-mcp"]
    command = [PureWindowsPath(command[0]).stem, *command[1:]]  # it may be given with its folder
    rest = next((command[len(start) :] for start in program if command[: len(start)] == start), None)
    assert rest is not None, f"not a command of ours: {command}"
    with click.Context(command_line, **command_line.context_settings) as context:
        command_line.parse_args(context, rest)


def test_the_commands_of_a_page_print_what_the_page_says(
    page: Path, server_url: str, environment: Mapping[str, str], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a red fox\na blue bird\n", "utf-8")
    (tmp_path / "rows.csv").write_text("prompt,seed\na red fox,1\na blue bird,2\n", "utf-8")
    for step in steps_of(page):
        command = without_what_installs(step.command.replace(DOCUMENTED_URL, server_url))
        program = shlex.split(command)[0]
        if program == "nox":
            assert_the_sessions_exist(command, root)
        elif program in RUN_UNTIL_STOPPED:
            assert_the_options_exist(command)
        elif program in HOSTS:
            _, is_started, started = command.partition(" -- ")
            if is_started:
                assert_the_arguments_are_known(shlex.split(started))
        elif program not in NO_COMMANDS_OF_OURS:
            printed = output_of(command, environment, tmp_path)
            assert not step.printed or told(printed) == told(step.printed)


def without_what_installs(command: str) -> str:
    """The command itself; the packages are installed here already."""
    for start in BEFORE_A_COMMAND:
        command = command.removeprefix(start).strip()
    return command


def output_of(command: str, environment: Mapping[str, str], folder: Path) -> str:
    """What a command prints; a server that reads its standard input ends at once, as there is none."""
    program, *arguments = shlex.split(command)
    folder_of_scripts = str(Path(sys.executable).parent)
    executable = sys.executable if program == "python" else shutil.which(program, path=folder_of_scripts)
    assert executable, f"no such command: {program}"
    run = subprocess.run(
        [executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env=environment,
        timeout=DEADLINE_SECONDS,
        check=False,
        text=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, f"{command}\n{run.stderr}"
    return run.stdout


def told(printed: str) -> list[str]:
    """Lines without what differs from run to run: addresses, folders, dates, seeds and times."""
    text = re.sub(r"\S*[/\\]generated_images[/\\]", "", printed.strip())
    text = re.sub(r"img_\d{8}_\d{6}_[0-9a-f]{6}(_\d+)?", "img", text)
    text = re.sub(r"http://\S+", "URL", text)
    text = re.sub(r"(?<=seed) +\d+|\d+\.\d+ s\b|\b\d+ ms\b", " N", text)
    return [line.rstrip() for line in text.splitlines()]


def assert_the_sessions_exist(command: str, root: Path) -> None:
    tree = ast.parse((root / "noxfile.py").read_text("utf-8"))
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    tags = {
        tag
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "tags"
        for tag in ast.literal_eval(node.value)
    }
    before, _, after = command.partition(" -- ")
    words = shlex.split(before)[1:]
    asked = {word for word in words if not word.startswith("-")}
    known = tags if "-t" in words else sessions
    assert {re.sub(r"-3\.\d+$|\(.*\)$", "", name) for name in asked} <= known
    if "bench" in asked:
        assert (root / "benchmarks" / f"{shlex.split(after)[0]}.py").is_file()


def assert_the_options_exist(command: str) -> None:
    program, *arguments = shlex.split(command)
    executable = shutil.which(program, path=str(Path(sys.executable).parent))
    assert executable, f"no such command: {program}"
    shown = subprocess.run(
        [executable, "--help"], capture_output=True, timeout=DEADLINE_SECONDS, check=True, text=True
    ).stdout
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", shown))
