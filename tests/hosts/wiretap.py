"""Sit between a host and its server: pass every line on, and record it in a file.

`python wiretap.py LOG COMMAND...` is what a host is told to start. A line of the file is a JSON object: who
sent it ("host" or "server"), and what, word for word.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO


def main() -> int:
    """Start the command, carry lines both ways until it ends, and end as it did."""
    log, *command = sys.argv[1:]
    with Path(log).open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        lock = threading.Lock()

        def carry(sender: str, source: IO[bytes], target: IO[bytes]) -> None:
            for line in source:
                with lock:
                    file.write(json.dumps({"from": sender, "line": line.decode()}) + "\n")
                    file.flush()
                try:
                    target.write(line)
                    target.flush()
                except OSError:  # the other side has gone; what it would have read is in the file
                    break
            if sender == "host":
                target.close()

        # A host that goes away leaves this thread waiting for its input; it must not keep the process alive.
        threading.Thread(target=carry, args=("host", sys.stdin.buffer, process.stdin), daemon=True).start()
        carry("server", process.stdout, sys.stdout.buffer)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
