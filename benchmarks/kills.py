"""Kill a process that saves images at random moments, and check what it leaves behind.

Run it with `uvx nox -s bench -- kills`; `--kills 20` for fewer kills. After each `kill -9`, every visible
file must be a complete image, every image whose name was reported must exist, and the index must match the
folder when it is opened again. Exits with 1 if one of these does not hold.
"""

import argparse
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from vllm_image_core.errors import BadPicture
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.index import Index
from vllm_image_core.storage.query import Query

KILLS = 200
LONGEST_SECONDS = 0.4
DEADLINE_SECONDS = 60.0

SAVES = """
import itertools, json, sys
from datetime import UTC, datetime
from pathlib import Path
from vllm_image_core.storage.library import Library
from vllm_image_core.imaging.picture import Picture, write_text
library, plain = Library(Path(sys.argv[1])), Picture.check(Path(sys.argv[2]).read_bytes())
noon = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)
print("ready", flush=True)
for number in itertools.count():
    facts = {"prompt": "a red fox", "seed": number, "created": noon.isoformat()}
    picture = write_text(plain, {"vllm-image": json.dumps(facts)})
    name = "fox" if number % 3 == 0 else None
    print(library.save(picture, facts, prompt="a red fox", now=noon, filename=name).path.name, flush=True)
"""


def main() -> int:
    """Kill, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=KILLS, help=f"number of kills ({KILLS})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments (0)")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        root, sample = Path(name) / "pictures", Path(name) / "sample.png"
        root.mkdir()
        Image.frombytes("RGB", (192, 192), os.urandom(3 * 192 * 192)).save(file := io.BytesIO(), "PNG")
        sample.write_bytes(file.getvalue())
        told: set[str] = set()
        faults: list[str] = []
        for number in range(options.kills):
            told |= _killed(root, sample, after=chance.uniform(0, LONGEST_SECONDS))
            faults += [f"kill {number}: {fault}" for fault in _faults(root, told)]
    print(f"{options.kills} kills, {len(told)} images reported, {len(faults)} faults; the goal is 0")
    for fault in faults[:20]:
        print(f"  {fault}")
    return 1 if faults or not told else 0


def _killed(root: Path, sample: Path, *, after: float) -> set[str]:
    """Start a process that saves images, kill it after some seconds, and return the names it reported."""
    command = [sys.executable, "-c", SAVES, str(root), str(sample)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        if child.stdout is None or child.stdout.readline() != "ready\n":
            raise SystemExit("The process that saves did not start.")
        time.sleep(after)
        child.kill()
        output, _ = child.communicate(timeout=DEADLINE_SECONDS)
    whole_lines, _, _ = output.rpartition("\n")
    return set(whole_lines.split())


def _faults(root: Path, told: set[str]) -> list[str]:
    """Return what does not hold; names and images that were already checked are skipped."""
    visible = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    indexed = _indexed(root)
    return [
        *(f"{name} was reported but does not exist" for name in sorted(told - visible)),
        *(f"{name} is not in the index" for name in sorted(visible - indexed)),
        *(f"{name} is in the index only" for name in sorted(indexed - visible)),
        *(f"{name} is not a complete image" for name in sorted(visible) if not _is_whole(root / name)),
    ]


def _indexed(root: Path) -> set[str]:
    index, names, offset = Index(root), set[str](), 0
    while True:
        page = index.find(Query(limit=1000, offset=offset))
        names |= {record.path.name for record in page.pictures}
        if page.next_offset is None:
            return names
        offset = page.next_offset


def _is_whole(path: Path) -> bool:
    try:
        Picture.check(path.read_bytes())
    except BadPicture:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
