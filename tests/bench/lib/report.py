"""Tables for people, and the gates."""

from statistics import median


def print_table(title, head, rows):
    """A Markdown table; the first column is left, the others are right."""
    print(f"\n{title}\n")
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            rules = ["-" * (widths[0] + 2)] + ["-" * (width + 1) + ":" for width in widths[1:]]
            print("|" + "|".join(rules) + "|")


def middle(rounds, key):
    return median(figures[key] for figures in rounds)


def ratio(results, name, base, key):
    """Median of the ratios of each round: what disturbs a round disturbs both sides of it. None without both."""
    pairs = list(zip(results.get(name, []), results.get(base, [])))
    return median(mine[key] / theirs[key] for mine, theirs in pairs) if pairs else None


def ratio_columns(results, name, bases, key):
    columns = []
    for base in bases:
        value = ratio(results, name, base, key)
        columns.append("–" if value is None else f"{value:.2f}")
    return columns


def spread(rounds, key):
    values = [figures[key] for figures in rounds]
    return f"±{(max(values) - min(values)) / 2 / max(median(values), 1e-9) * 100:.0f}%"


class Gate:
    """One figure that a release must reach: `measured` (None when its scenario was not run) against `limit`."""

    def __init__(self, title, measured, limit, *, below=False):
        self.title, self.measured, self.limit, self.below = title, measured, limit, below

    def passed(self):
        if self.measured is None:
            return None
        return self.measured < self.limit if self.below else self.measured <= self.limit

    def line(self):
        verdict = {None: "not measured", True: "pass", False: "FAIL"}[self.passed()]
        shown = ",.0f" if self.limit > 10 else ".2f"
        figure = "–" if self.measured is None else format(self.measured, shown)
        sign = "<" if self.below else "<="
        return [self.title, figure, f"{sign} {format(self.limit, shown)}", verdict]
