"""Contest 3: manifest to COMPLETED, over receivers in the engine's process that answer at once."""

import tempfile
import time

from .bed import Talker, bed, cpu_seconds, peak_mib


def one_round(number, programs, options):
    """For each number of targets: once at a light load, for the latency, and once with all files at once."""
    results = {}
    with bed() as servers, tempfile.TemporaryDirectory(prefix="consign-bench-state-") as state:
        for targets in options.ends_targets:
            for load, rate, files in (("light", options.rate, options.rate * 10),
                                      ("saturation", 0, options.ends_dispatches // targets)):
                name = f"{load} {targets}"
                results[name] = one(name, number, programs, options, servers, state, (targets, rate, files))
                print(f"  round {number}: {name}: {brief(results[name])}", flush=True)
    return results


def brief(result):
    return (f"p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms, {result['files_per_second']:,.0f} files/s, "
            f"{result['cpu_us_per_dispatch']:.0f} µs of CPU a dispatch")


def one(name, number, programs, options, servers, state, how):
    targets, rate, files = how
    prefix = f"ends-{number}-{name.replace(' ', '-')}."
    sizes = ["--files", files, "--targets", targets, "--partitions", options.partitions]
    logs = f"{options.out}/{prefix}"
    announcer = Talker("announce", [programs.rust, "announce", "--prefix", prefix, "--rate", rate, *sizes], servers,
                       logs + "announce.log")
    announcer.hear("LOADED")
    engine = Talker("whole", [programs.rust, "whole", "--prefix", prefix, "--workers", options.workers, "--store",
                              f"{state}/{prefix}", *sizes], servers, logs + "log")
    engine.hear("READY")
    time.sleep(1)
    broker = int(servers["BROKER_PID"])
    before, broker_before = engine.cpu(), cpu_seconds(broker)
    announcer.say("go")
    done = announcer.hear("DONE")
    cpu, broker_cpu = engine.cpu() - before, cpu_seconds(broker) - broker_before
    result = {
        "files": files,
        "targets": targets,
        "seconds": done["seconds"],
        "files_per_second": files / done["seconds"],
        "p50_ms": done["latency_ms"]["p50"],
        "p99_ms": done["latency_ms"]["p99"],
        "p999_ms": done["latency_ms"]["p999"],
        "two_bare_transactions_p99_ms": done["two_bare_transactions_ms"]["p99"],
        "cpu_us_per_dispatch": cpu / files / targets * 1e6,
        "broker_cpu_us_per_dispatch": broker_cpu / files / targets * 1e6,
        "peak_mib": peak_mib(engine.pid),
    }
    engine.close()
    announcer.close()
    return result
