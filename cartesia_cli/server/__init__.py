"""The other end of the API, on this machine: the same protocol, answered by an offline engine.

No engine may be imported but from a module in here: what their libraries read from the environment when they are
loaded is set before, in this one place.
"""

import os

# Both libraries report to their makers otherwise: onnxruntime looks up a telemetry host after 20 s and leaves a device
# id and a database in the user's cache folder. The user's own setting doesn't count, since we promise this.
os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

# OpenMP's threads otherwise spin while they wait for each other: on a machine that is busy with something else, a
# recording then took five times as long; on an idle one it makes no odds.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Read once, when websockets is imported. Its own limit of 8192 bytes is less than the URL of a session with keyterms at
# their documented limit takes: 1200 characters, of up to 12 bytes each; h11 sees to it that a head has 16 KiB at most.
os.environ.setdefault("WEBSOCKETS_MAX_LINE_LENGTH", "16384")
