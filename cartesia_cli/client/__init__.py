"""The network client for Cartesia's speech-to-text API: uploads, realtime connections, deadlines, retries, errors.

The only package that imports httpx and websockets. The realtime connection is imported from `client.realtime`, not
from here, because file uploads don't need websockets. Messages of the API are defined in `protocol`; what the user
sees, in `output`.
"""

import sys
from importlib import import_module

# httpx imports its own command line with rich and pygments, where they are installed: a third of its start-up.
# It does without when that module can't be imported.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

# httpcore imports trio, where that is installed: a third of its own start-up. Synchronous clients do without.
_TRIO = sys.modules.setdefault("trio", None)  # type: ignore[arg-type]
import_module("httpcore")
if _TRIO is None:
    del sys.modules["trio"]

from ..retry import RetryPolicy
from .batch import BatchClient
from .concurrency import ConcurrencyLimit, LimitClosed
from .deadlines import Deadlines, ProgressCallback, UploadProgress
from .http_errors import is_account_error
from .upload import Upload

__all__ = [
    "BatchClient",
    "ConcurrencyLimit",
    "Deadlines",
    "LimitClosed",
    "ProgressCallback",
    "RetryPolicy",
    "Upload",
    "UploadProgress",
    "is_account_error",
]
