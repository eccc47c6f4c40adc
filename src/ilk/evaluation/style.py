"""Style: the colours of all plots, which are those of the report."""

INK, SOFT, LINE = "#1b1f24", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#2f6fb3", "#d97706"
DASHES = (0, (4, 3))
