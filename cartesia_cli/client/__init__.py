"""The network client for Cartesia's speech-to-text API: uploads, realtime connections, deadlines, retries, errors.

The only package that imports httpcore, httpx and websockets. Uploads need only the first: downloads with httpx and
realtime connections are imported from `client.download` and `client.realtime`, not from here. Messages of the API are
defined in `protocol`; what the user sees, in `output`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# httpx imports its own command line with rich and pygments, where they are installed: a third of its start-up.
# It does without when that module can't be imported.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

# httpcore imports trio and anyio, where they are installed: a third of its start-up. Synchronous clients do without.
# It imports certifi, too, which plain http doesn't need.
_CERTIFI = ModuleType("certifi")
_CERTIFI.where = lambda: import_module("certifi").where()  # type: ignore[attr-defined]
_LATER: dict[str, Any] = {"trio": None, "anyio": None, "certifi": _CERTIFI}
_ADDED = [name for name in _LATER if sys.modules.setdefault(name, _LATER[name]) is _LATER[name]]
import_module("httpcore")
for name in _ADDED:
    del sys.modules[name]

from ..retry import RetryPolicy
from .batch import BatchClient
from .concurrency import ConcurrencyLimit
from .deadlines import DeadlineExceeded, Deadlines, UploadProgress
from .http_errors import is_account_error
from .http_transport import HttpResponse
from .upload import Upload
