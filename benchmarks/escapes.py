"""Save images while another process swaps links into the folder, and check that none leads outside.

Run it with `uvx nox -s bench -- escapes`; `--rounds 500` for fewer rounds. As fast as it can, a second
process creates links to outside files under the names that come next, and replaces images with links. Half
of the names are hostile. Exits with 1 if anything outside the folder was created or changed.
"""

import argparse
import hashlib
import io
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.library import Library
from vllm_image_core.storage.query import Query

ROUNDS = 10_000
NAMES = tuple(f"fox{number}" for number in range(5))
NOW = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
KEPT = 300
"""Number of files that stay in the folder; more would only slow it down."""

ATTACKS = """
import os, random, sys
root, outside = sys.argv[1:]
names = [f"fox{number}{suffix}.png" for number in range(5) for suffix in ("", "_2", "_3", "_4")]
chance, swaps = random.Random(1), 0
print("ready", flush=True)
while True:
    name = chance.choice(names)
    target = os.path.join(outside, chance.choice(("precious.png", "new.png", "folder/new.png")))
    try:
        os.symlink(target, os.path.join(root, "link"))
        os.replace(os.path.join(root, "link"), os.path.join(root, name))
        swaps += 1
        if chance.random() < 0.7:
            os.unlink(os.path.join(root, name))
        if swaps % 1000 == 0:
            print(swaps, flush=True)
    except OSError:
        pass
"""

PARTS = (
    *(
        "..",
        "/",
        "\\",
        "C:",
        "\\\\srv\\s",
        "/etc/x",
        "~",
        "-",
        ":",
        "\0",
        "\n",
        "\u202e",
        "\ud800",
        "\uff0e\uff0e",
    ),
    *(
        "\uff0f",
        "\uff3c",
        "%2e%2e%2f",
        "$HOME",
        "CON",
        "nul",
        ".png",
        " ",
        ".",
        "*",
        '"',
        "|",
        "fox",
        "x" * 119,
    ),
    *("x" * 300, "e\u0301", "\ufdfa", "outside", "outside/precious", "../outside/new", ".vllm-image/x"),
)


def main() -> int:
    """Save, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"number of rounds ({ROUNDS})")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="escapes-") as name:
        root, outside = Path(name) / "pictures", Path(name) / "outside"
        root.mkdir()
        (outside / "folder").mkdir(parents=True)
        (outside / "precious.png").write_text("theirs")
        before = _state(Path(name), root)
        with _attacker(root, outside) as attacker:
            saved, refused = _saved(root, rounds=rounds)
            swaps = _swaps(attacker)
        escapes = _state(Path(name), root) ^ before
        followed = [
            record.path for record in Library(root).search.find(Query()).pictures if record.path.is_symlink()
        ]
    print(
        f"{rounds} rounds: {saved} saved, {refused} names refused, over {swaps} links swapped in; "
        f"{len(escapes)} escapes, {len(followed)} links followed; the goal is 0"
    )
    for path, _ in sorted(escapes):
        print(f"  {path}")
    return 1 if escapes or followed or not saved or not swaps else 0


@contextmanager
def _attacker(root: Path, outside: Path) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", ATTACKS, str(root), str(outside)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise SystemExit("The attacking process did not start.")
            yield process
        finally:
            process.kill()


def _swaps(attacker: subprocess.Popen[str]) -> int:
    attacker.kill()
    output, _ = attacker.communicate()
    return max((int(line) for line in output.split()), default=0)


def _saved(root: Path, *, rounds: int) -> tuple[int, int]:
    Image.frombytes("RGB", (8, 8), os.urandom(192)).save(file := io.BytesIO(), "PNG")
    library, picture = Library(root), Picture.check(file.getvalue())
    chance, refused = random.Random(2), 0
    for number in range(rounds):
        hostile = number % 2
        name = "".join(chance.choices(PARTS, k=chance.randrange(1, 5))) if hostile else chance.choice(NAMES)
        try:
            path = library.save(picture, {}, prompt="a red fox", now=NOW, filename=name).path
        except InvalidRequest:
            refused += 1
            continue
        if path.parent != root:
            raise SystemExit(f"{path} is not in {root}.")
        if number > KEPT:
            path.unlink(missing_ok=True)
    return rounds - refused, refused


def _state(everything: Path, root: Path) -> set[tuple[str, str]]:
    """Return every file, link and folder outside the image folder, with the hash of its content."""
    found: set[tuple[str, str]] = set()
    for path in everything.rglob("*"):
        if path == root or root in path.parents:
            continue
        content = path.read_bytes() if path.is_file() else b""
        found.add((str(path), hashlib.sha256(content).hexdigest()))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
