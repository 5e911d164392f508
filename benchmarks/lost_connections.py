"""Checks in simulated time that sessions with lost connections deliver every spoken number once and in order.

    python benchmarks/lost_connections.py              # some four minutes
    python benchmarks/lost_connections.py --seeds 5    # more random positions of the losses

For each kind of server it prints how many numbers were missing or duplicated, how much audio was sent compared with
what was recorded, and how many seconds after the audio the last word arrived. The server is `tests/late_server.py`,
with different modes, silences that end a turn, and delays of its answers. Each session says 150 numbers and loses 20
connections. Target: no number is missing, duplicated or out of order.
"""

# ruff: noqa: T201  the table is the result

from __future__ import annotations

import argparse
import random
import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cartesia_cli.audio.pcm import RATE, encode_s16le
from cartesia_cli.session.interfaces import StopSignal
from tests.late_server import LateSession, delays, random_lifetimes
from tests.test_no_word_lost import session_factory
from tests.tones import spoken

NUMBERS, LOSSES = 150, 20
DELAY_SECONDS: tuple[float | str, ...] = (0.0, 0.5, 1.2, 3.0, 10.0, "random")
REST_SECONDS = (0.2, 0.5, 0.9)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    rounds = range(parser.parse_args().seeds)
    wrong = 0
    print(f"{'mode':8}{'turn':>6}{'late':>8}{'numbers':>9}{'missing':>9}{'twice':>7}{'sent':>7}{'after':>8}")
    for manual, silences in ((False, (0.15, 0.35, 0.7, 1.0)), (True, (0.0,))):
        for silence, late in product(silences, DELAY_SECONDS):
            missing = twice = 0
            sent, audio_seconds, after = 0.0, 0.0, 0.0
            for rest, seed in product(REST_SECONDS, rounds):
                rng = random.Random(f"{silence} {late} {rest} {seed}")
                audio = encode_s16le(spoken(range(NUMBERS), rest))
                seconds = len(audio) / 2 / RATE
                session = LateSession(
                    audio, session_factory(), StopSignal, manual=manual, silence=silence, lateness=delays(rng, late),
                    lives=random_lifetimes(rng, LOSSES, seconds / LOSSES),
                )  # fmt: skip
                heard = session.heard
                missing += len({*range(NUMBERS)} - {*heard})
                twice += len(heard) - len({*heard})
                wrong += heard != [*range(NUMBERS)]
                sent, audio_seconds = sent + session.sent, audio_seconds + seconds
                after = max(after, session.lasted - seconds)
            count = NUMBERS * len(REST_SECONDS) * len(rounds)
            mode = "manual" if manual else "auto"
            turn = "" if manual else f"{silence:g} s"
            print(
                f"{mode:8}{turn:>6}{late if late == 'random' else f'{late:g} s':>8}{count:9}{missing:9}{twice:7}"
                f"{sent / audio_seconds:6.2f}x{after:6.0f} s",
                flush=True,
            )
    print(f"{wrong} sessions were wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
