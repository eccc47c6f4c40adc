from __future__ import annotations

import io
import logging
import sys

from ilk import cli


def test_messages_go_to_what_is_stderr_at_the_time(monkeypatch):
    cli.run(["recipes"])
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    logging.getLogger("ilk").warning("one")
    first.close()
    monkeypatch.setattr(sys, "stderr", second)
    logging.getLogger("ilk").warning("two")
    assert second.getvalue() == "two\n"
