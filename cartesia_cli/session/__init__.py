"""A live session: speak, hear, stop, over as many connections as it takes.

parties       who takes part: source, connection, witness, and who says that it's over
ledger        what there is to say, kept until it is confirmed
confirmation  how much of it has had its effect
progress      how far it is, told to all who keep count
lifeline      whether a connection that was lost is worth another one, and how fast it is caught up with
loop          the one loop
"""

from .loop import Session

__all__ = ["Session"]
