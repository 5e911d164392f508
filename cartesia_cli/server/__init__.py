"""The local server: Cartesia's speech-to-text API on this machine, answered by offline engines or by a script.

An engine's library may be imported only by a module of this package: the environment variables that it reads at import
are set here.
"""

import os

# Disables telemetry of both libraries: otherwise onnxruntime looks up a telemetry host after 20 s and leaves a device
# id and a database in the user's cache folder. The user's own setting doesn't count, since we promise this.
os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

# OpenMP's threads otherwise spin while they wait for each other: on a machine that was busy with something else, a
# recording took five times as long; on an idle one it makes no difference.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Read once, when websockets is imported. Its own limit of 8192 bytes is less than the URL of a session with keyterms at
# their documented limit takes: 1200 characters, of up to 12 bytes each. h11 limits a head to 16 KiB.
os.environ.setdefault("WEBSOCKETS_MAX_LINE_LENGTH", "16384")
