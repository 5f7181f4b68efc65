"""Progress: few plain lines in a log, nothing that a column's name could do to a terminal."""

import io

from smidgen.cli import progress


def test_plain_lines_come_per_change_or_every_ten_seconds(capsys):
    now = [0.0]
    told = progress.PlainProgress(clock=lambda: now[0])
    for second in range(25):
        now[0] = float(second)
        told({"kind": "trial", "text": f"trial {second}", "done": second, "total": None, "seconds_left": 60.0 - second})
    told({"kind": "round", "text": "Round 1 \x1b[2J", "done": 25, "total": 30, "seconds_left": None})
    told({"kind": "done", "text": "Model in m", "done": 30, "total": None, "seconds_left": 0.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "trial 0 (at most 1 min 0 s left)",
        "trial 10 (10 done, at most 50 s left)",
        "trial 20 (20 done, at most 40 s left)",
        "Round 1 \ufffd[2J (25 of 30)",
        "Model in m (30 done)",
    ]


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_text_as_it_is(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.progress() as told:
        assert isinstance(told, progress.TerminalProgress)
        told({"kind": "read", "text": "target '[red]x[/red]'", "done": 0, "total": None, "seconds_left": 60.0})
        told({"kind": "trial", "text": "[bold]knn", "done": 1, "total": 4, "seconds_left": 60.0})
    shown = screen.getvalue()
    assert "target '[red]x[/red]'" in shown and "[bold]knn" in shown
    assert "\x1b[31m" not in shown and "\x1b[38" not in shown  # no colour


def test_a_pipe_or_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(progress.progress(), progress.PlainProgress)
    monkeypatch.setattr("sys.stderr", Screen())
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress.progress(), progress.PlainProgress)
