"""`python -m tests.tiny_model ARGUMENT...`: the program as it is where only Whisper tiny.en is installed."""

from __future__ import annotations

import sys

from cartesia_cli.__main__ import main
from cartesia_cli.server import packaged_models

if __name__ == "__main__":
    packaged_models.WHISPER_MODELS = (packaged_models.TINY_EN,)
    sys.exit(main())
