"""How long a live session lets its user wait.

latency       times the utterances of a session, and reports what it measured
percentiles   summarises many values as a few
"""

from .latency import LatencyRecorder

__all__ = ["LatencyRecorder"]
