"""How the protocol is carried over the network: uploads, deadlines, retries, and what a refusal means.

The only rooms that know httpx and websockets. The realtime connection is to be had from `client.realtime`,
not from here: who sends files needs no websockets. What is said is decided in `protocol`; what is shown, in `output`.
"""

import sys

# httpx imports its own command line with rich and pygments, where they are installed: a third of its start-up.
# It does without when that module can't be imported.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

from .batch import BatchClient
from .deadlines import Deadlines, UploadProgress
from .http_errors import is_account_error
from .retry import RetryPolicy
from .upload import Upload

__all__ = ["BatchClient", "Deadlines", "RetryPolicy", "Upload", "UploadProgress", "is_account_error"]
