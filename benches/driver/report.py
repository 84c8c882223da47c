"""Tables and plots of what was measured."""

import statistics

INK, GRID = "#1f2937", "#d1d5db"
COLOURS = ("#2563eb", "#6b7280", "#d97706", "#b45309", "#059669", "#7c3aed")


def medians(rounds, contestant):
    """The median over the rounds of every figure of a contestant."""
    of = [each[contestant] for each in rounds if contestant in each]
    numbers = [key for key, value in of[0].items() if isinstance(value, (int, float))] if of else []
    return {key: statistics.median(each[key] for each in of) for key in numbers}


def ratio(rounds, figure, one, other):
    """The median over the rounds of one contestant's figure by another's of the same round, with the extremes."""
    both = [each[one][figure] / each[other][figure] for each in rounds if one in each and other in each]
    return (statistics.median(both), min(both), max(both)) if both else None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def said(value):
    return "–" if value is None else f"{value[0]:.2f} ({value[1]:.2f}–{value[2]:.2f})"


def join_tables(rounds, contestants):
    figures = (("records_per_cpu_second", "records per CPU-second", "{:,.0f}"),
               ("cpu_us_per_record", "CPU µs a record", "{:.1f}"),
               ("records_per_second", "records a second", "{:,.0f}"),
               ("broker_cpu_us_per_record", "broker CPU µs a record", "{:.1f}"),
               ("peak_mib", "peak resident MiB", "{:,.0f}"))
    there = [name for name in contestants if any(name in each for each in rounds)]
    middle = {name: medians(rounds, name) for name in there}
    rows = [[text, *(form.format(middle[name][key]) for name in there)] for key, text, form in figures]
    tables = [table(["median of the rounds", *there], rows)]
    if "consign" in there:
        rows = []
        for other in (name for name in there if name != "consign"):
            memory = ratio(rounds, "peak_mib", other, "consign")
            rows.append([other, said(ratio(rounds, "records_per_cpu_second", "consign", other)),
                         said(ratio(rounds, "records_per_second", "consign", other)), said(memory)])
        head = ["consign beside", "records per CPU-second, ×", "records a second, ×", "memory: the other's by consign's"]
        tables.append(table(head, rows))
    return "\n\n".join(tables)


def ends_table(rounds):
    names = list(rounds[0])
    figures = (("p50_ms", "p50 ms", "{:,.1f}"), ("p99_ms", "p99 ms", "{:,.1f}"), ("p999_ms", "p99.9 ms", "{:,.1f}"),
               ("two_bare_transactions_p99_ms", "two bare transactions, p99 ms", "{:,.1f}"),
               ("files_per_second", "files a second", "{:,.0f}"),
               ("dispatches_per_cpu_second", "dispatches per CPU-second", "{:,.0f}"),
               ("broker_cpu_us_per_dispatch", "broker CPU µs a dispatch", "{:,.1f}"),
               ("peak_mib", "peak resident MiB", "{:,.0f}"))
    middle = {name: medians(rounds, name) for name in names}
    rows = [[name, *(form.format(middle[name][key]) for key, _, form in figures)] for name in names]
    return table(["receivers, load, targets", *(text for _, text, _ in figures)], rows)


def scale_table(rounds):
    rows, first = [], {}
    for name in rounds[0]:
        what = name.split(":")[0]
        cost = medians(rounds, name)["cpu_us_per_report"]
        least = first.setdefault(what, name)
        rows.append([name, f"{cost:.1f}", said(ratio(rounds, "cpu_us_per_report", name, least))])
    return table(["what grows", "CPU µs a report", "× the smallest"], rows)


def restore_table(rounds):
    columns = (("files", "{:,}"), ("records", "{:,}"), ("seconds", "{:.1f}"), ("at_work_seconds", "{:.1f}"),
               ("first_request_seconds", "{:.2f}"), ("cpu_seconds", "{:.1f}"), ("resident", "{}"), ("peak", "{}"))
    rows = [[number, what, *(form.format(figures[key]) if key in figures else "–" for key, form in columns)]
            for number, each in enumerate(rounds) for what, figures in each.items()]
    head = ["round", "the process comes back", "files", "records read", "s of restoring", "at work after s",
            "first request after s", "CPU s", "resident", "peak"]
    return table(head, rows)


def bars(title, unit, values):
    """A bar for each (name, value, lowest, highest) of the rounds."""
    width, left, row, top = 720, 150, 34, 46
    highest = max((each[3] for each in values), default=1) or 1
    scale = (width - left - 110) / highest
    height = top + row * len(values) + 16
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
             f'font-size="13" fill="{INK}">', f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="16" y="26" font-size="15" font-weight="bold">{title}</text>']
    for at, (name, value, low, high) in enumerate(values):
        y = top + row * at
        parts.append(f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="22" rx="2" '
                     f'fill="{COLOURS[at % len(COLOURS)]}"/>')
        parts.append(f'<path d="M{left + low * scale:.1f} {y + 11}H{left + high * scale:.1f}" stroke="{INK}" '
                     f'stroke-width="2"/>')
        parts.append(f'<text x="{left + max(value, high) * scale + 8:.1f}" y="{y + 16}">{value:,.0f} {unit}</text>')
    return "\n".join([*parts, "</svg>\n"])


def spreads(rounds, figure):
    """Of every contestant its name, and the median, the lowest and the highest of a figure over the rounds."""
    values = []
    for name in rounds[0]:
        of = [each[name][figure] for each in rounds]
        values.append((name, statistics.median(of), min(of), max(of)))
    return values
