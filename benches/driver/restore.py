"""Contest 5: how long a process takes to come back, from the topics alone and, after kill -9, with its stores."""

import json
import os
import subprocess
import sys

from .bed import bed


def one_round(number, programs, options):
    """What `benches/restore.rs` measured, by what the process had to begin with."""
    with bed() as servers:
        environment = {**os.environ, **{name: value for name, value in servers.items() if name != "DIRECTORY"},
                       "RESTORE_FILES": str(options.restore_files)}
        ran = subprocess.run([programs.restore], env=environment, stdout=subprocess.PIPE, text=True)
    for line in ran.stdout.splitlines():
        if not line.startswith("FIGURES"):
            print(f"  round {number}: {line}", flush=True)
    if ran.returncode != 0:
        sys.exit(f"bench: the restore ended with {ran.returncode}; see above")
    told = [json.loads(line.removeprefix("FIGURES")) for line in ran.stdout.splitlines() if line.startswith("FIGURES")]
    return {what: figures for each in told for what, figures in each.items()}
