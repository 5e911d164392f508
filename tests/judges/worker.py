"""Runs the other scripts in one process, which imports the SDKs once.

Each line of stdin is a JSON list, `[SCRIPT, ARGUMENT...]`. Each line of stdout is a JSON object with what the script
printed, `{"printed": ...}`, or with the traceback of its failure, `{"failed": "..."}`.
"""

from __future__ import annotations

import io
import json
import runpy
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def run(script: str, arguments: list[str]) -> dict[str, Any]:
    sys.argv = [script, *arguments]
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            runpy.run_path(str(FOLDER / f"{script}.py"), run_name="__main__")
        return {"printed": json.loads(printed.getvalue())}
    except (Exception, SystemExit):
        return {"failed": traceback.format_exc()}


if __name__ == "__main__":
    for line in sys.stdin:
        script, *arguments = json.loads(line)
        sys.stdout.write(json.dumps(run(script, arguments)) + "\n")
        sys.stdout.flush()
