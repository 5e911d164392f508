"""A live session: sends audio, receives text, and replaces lost connections.

loop          the session itself: source, send loop, receive loop, reconnecting, and its outcome
send_buffer   audio and commands in order, kept until they are acknowledged
dispatcher    passes events to the tracker, and distributes the tracker's facts
sent_configs  keeps changes of settings for the next connection
reconnect     decides which lost connections are replaced, how soon, and how fast the backlog is sent
latency       how late the server's answers are, how well audio keeps real time, what was sent, what happened when
interfaces    what a session needs from others: source, connection, observer, stop signal
"""

from .loop import Session
