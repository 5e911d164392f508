"""Records the golden record again: `python -m tests.golden --update [GROUP...]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fork_server import close_fork_servers

from . import cases, groups, recorded, update


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write down what the commands do now")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="all of them by default")
    given = parser.parse_args()
    names = given.groups or groups()
    if unknown := sorted(set(names) - set(groups())):
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(groups())}")
    if not given.update:
        for group in names:
            sys.stdout.write(f"{group}: {len(list(cases(recorded(group))))} cases\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        changed = update(names, Path(folder))
    close_fork_servers()
    sys.stdout.write(f"changed: {', '.join(changed) or 'nothing'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
