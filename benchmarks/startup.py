"""Claim: `ilk --help` and `import ilk` are there at once."""

from __future__ import annotations

import statistics
import sys

from common import arguments, headline, run_process, spread

options = arguments(__doc__, repeats=21)
headline("Start-up")

bare, imported, helped = [], [], []
for _ in range(options.repeats):
    bare.append(run_process([sys.executable, "-c", "pass"]).seconds)
    imported.append(run_process([sys.executable, "-c", "import ilk"]).seconds)
    helped.append(run_process([sys.executable, "-m", "ilk", "--help"]).seconds)

over = statistics.median(imported) - statistics.median(bare)
print("| what | target | measured |\n|---|---|---|")
print(f"| `ilk --help` | <= 0.25 s | {spread(helped, ' s', 3)} |")
print(f"| `import ilk`, over bare Python ({spread(bare, ' s', 3)}) | <= 0.1 s | {over:.3f} s |\n")
