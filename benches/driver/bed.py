"""The test bed for one round, and processes on it that say where they stand."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def bed():
    """A fresh broker and registry; gives their addresses and process ids."""
    with tempfile.TemporaryDirectory(prefix="consign-bench-") as directory:
        testbed = ROOT / "scripts" / "testbed"
        subprocess.run([testbed, "start", directory, "bench"], check=True, stdout=subprocess.DEVNULL)
        try:
            lines = (Path(directory) / "env").read_text().splitlines()
            yield dict(line.split("=", 1) for line in lines) | {"DIRECTORY": directory}
        finally:
            subprocess.run([testbed, "stop", directory], check=False, stdout=subprocess.DEVNULL)


def cpu_seconds(pid):
    """User and system time of a process so far, all its threads, from the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid):
    """The most memory that a process has had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def resident_mib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Talker:
    """A process that says on its standard output where it stands, a word and JSON each line."""

    def __init__(self, name, command, bed, log):
        self.name = name
        self.log = open(log, "wb")
        environment = {**os.environ, "KAFKA_BOOTSTRAP": bed["KAFKA_BOOTSTRAP"]}
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True, env=environment)
        self.pid = self.process.pid

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, word):
        """Waits for a line that begins with this word; gives what it says."""
        for line in self.process.stdout:
            said, _, rest = line.strip().partition(" ")
            if said == word:
                return json.loads(rest)
        self.process.wait()
        sys.exit(f"bench: {self.name} ended with {self.process.returncode} before {word}: see {self.log.name}")

    def cpu(self):
        return cpu_seconds(self.pid)

    def close(self):
        """Ends it in good order, and if it doesn't come to its end, without."""
        try:
            self.process.stdin.close()
            self.process.wait(timeout=60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.log.close()
