"""Interprets a live session: which audio an event belongs to, what text is settled, what audio is acknowledged.

    timeline    what was sent when, and where in it there was speech
    facts       what a tracker reports
    manual      the tracker of the manual endpoint
    turns       the tracker of the auto endpoint: turn events, acknowledged audio, repeats after a reconnect
    placement   finds the speech of a turn in the audio
    repeats     recognizes text that is heard a second time, after audio was sent again

This is the only place where events are interpreted: the session sends and resends by what is reported here, writers
write it. Pure: values in, values out. All positions are seconds of audio that was sent, counted from the start of the
session; `now` is any clock that never goes back, in seconds.

What becomes of audio and its text, in this order:

- sent: the audio was given to the connection;
- answered: the server has reacted to it, with any event;
- open: there is text of it, which may still change;
- held: its turn is over, but may repeat settled text (only after a reconnect);
- settled: its text is final: it was reported as a Segment, and nothing takes it back;
- acknowledged: all text of the audio up to there is settled, so that it is never sent again.
"""

from .facts import Acknowledged, Fact, FinalizeAnswered, StartOver, Tracker
from .manual import ManualTracker
from .timeline import MAX_RESPONSE_SECONDS, SpeechTimeline, UtteranceTimes
from .turns import TurnTracker
