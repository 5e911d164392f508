"""The network client for Cartesia's speech-to-text API: uploads, realtime connections, deadlines, retries, errors.

The only package that imports httpcore, httpx and websockets. Uploads need only the first: downloads with httpx and
realtime connections are imported from `client.download` and `client.realtime`, not from here. Messages of the API are
defined in `protocol`; what the user sees, in `output`.
"""

import sys
from importlib import import_module

# httpx imports its own command line with rich and pygments, where they are installed: a third of its start-up.
# It does without when that module can't be imported.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

# httpcore imports trio and anyio, where they are installed: a third of its start-up. Synchronous clients do without.
_ASYNC = [name for name in ("trio", "anyio") if sys.modules.setdefault(name, None) is None]  # type: ignore[arg-type]
import_module("httpcore")
for name in _ASYNC:
    del sys.modules[name]

from ..retry import RetryPolicy
from .batch import BatchClient
from .concurrency import ConcurrencyLimit, LimitClosed
from .deadlines import DeadlineExceeded, Deadlines, UploadProgress
from .http_errors import is_account_error
from .http_transport import HttpResponse
from .upload import Upload
