"""How long a live session lets its user wait.

tally        many numbers as a few
observed     what can be observed of an utterance
instrument   is told what happens, when it happens
"""

from .instrument import Instrument

__all__ = ["Instrument"]
