"""Stages of an analysis."""

from otovox.stages import Stage, report, reported_to


def test_stages_reach_the_innermost_listener_and_nobody_afterwards():
    outer, inner = [], []
    with reported_to(outer.append):
        report(Stage.READING)
        with reported_to(inner.append):
            report(Stage.LOCATING)
        report(Stage.MEASURING)
    report(Stage.WRITING)
    assert outer == [Stage.READING, Stage.MEASURING]
    assert inner == [Stage.LOCATING]
