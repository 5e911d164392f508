"""Which changes of settings are still in effect: what a new connection gets, and what keys begin with."""

from __future__ import annotations

from cartesia_cli.protocol.realtime import Config, TurnConfig
from cartesia_cli.session.sent_configs import SETTLED_SECONDS, SentConfigs

GERMAN, TERMS, QUICK = Config(language_hints=("de",)), Config(keyterms=("Ink",)), Config(TurnConfig(end_threshold=0.4))


def test_changes_are_pending_until_they_are_sent() -> None:
    configs = SentConfigs()
    configs.request(GERMAN)
    assert configs.in_effect() == [] and not configs.was_sent(GERMAN)
    assert configs.requested == GERMAN
    configs.sent(GERMAN, 1.0)
    configs.request(TERMS)
    assert configs.in_effect() == [GERMAN] and configs.was_sent(GERMAN)
    assert configs.requested == GERMAN.merged(TERMS)


def test_a_refusal_takes_back_the_last_change_only() -> None:
    configs = SentConfigs()
    for now, config in enumerate((GERMAN, TERMS, QUICK)):
        configs.sent(config, now)
    assert configs.refused() is QUICK
    assert configs.in_effect() == [GERMAN, TERMS]
    assert configs.was_sent(QUICK)  # and must not be sent again
    assert configs.refused() is TERMS and configs.refused() is GERMAN
    assert configs.refused() is None
    assert configs.requested == Config()


def test_changes_without_an_error_for_long_are_one_that_no_refusal_takes_back() -> None:
    configs = SentConfigs()
    configs.sent(GERMAN, 0.0)
    configs.sent(TERMS, 1.0)
    configs.sent(QUICK, 1.0 + SETTLED_SECONDS)
    assert configs.in_effect() == [GERMAN.merged(TERMS), QUICK]
    configs.refused()
    assert configs.in_effect() == [GERMAN.merged(TERMS)]


def test_equal_changes_are_told_apart() -> None:
    first, second = Config(keyterms=("Ink",)), Config(keyterms=("Ink",))
    configs = SentConfigs()
    configs.request(first)
    configs.request(second)
    configs.sent(first, 0.0)
    assert configs.was_sent(first) and not configs.was_sent(second)
    assert configs.pending == [second]
