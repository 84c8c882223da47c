"""Contest 4: what one report costs as everything grows, on the log in the engine's process: CPU time of the fold alone."""

import json
import os
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")

# What grows, and the sizes in which it does: options of `fold` beside those that stay.
GROWTHS = {
    "open files": [("--files", n, "--reported", 5_000) for n in (10_000, 30_000, 100_000)],
    "targets": [("--files", 60_000 // n, "--targets", n, "--window", max(1, 2_000 // n)) for n in (1, 5, 20, 100, 500)],
    "partitions": [("--files", 12_000, "--partitions", n) for n in (1, 4, 12, 48)],
}


def one_round(number, programs):
    results = {}
    for what, sizes in GROWTHS.items():
        for size in sizes:
            name = f"{what}: {size[1] if what == 'open files' else size[3]:,}"
            ran = subprocess.run([programs.rust, "fold", *map(str, size)], capture_output=True, text=True, check=True)
            said = json.loads(next(line for line in ran.stdout.splitlines() if line.startswith("FOLDED"))[6:])
            cpu = said["cpu_ticks"] / TICKS / said["reports"] * 1e6
            results[name] = {"cpu_us_per_report": cpu, "reports": said["reports"]}
            print(f"  round {number}: {name}: {cpu:.1f} µs", flush=True)
    return results
