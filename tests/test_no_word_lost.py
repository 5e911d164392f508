"""No word is lost and none is said twice, however a server ends turns, how late it answers, and how often it drops."""

from __future__ import annotations

from cartesia_cli.session import Session
from cartesia_cli.session.lifeline import Lifeline
from cartesia_cli.tracker import ManualTracker, SpeechTimeline, TurnTracker


def make(connect, source, endpointer, *, manual, chunk, write, pace):
    timeline = SpeechTimeline()
    return Session(
        connect,
        source,
        (ManualTracker if manual else TurnTracker)(timeline),
        timeline,
        endpointer,
        finalize=manual,
        manual=manual,
        chunk=chunk,
        write=write,
        lifeline=Lifeline(1000),
        pace=pace,
    )
