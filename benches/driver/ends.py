"""Contest 3: manifest to COMPLETED, over receivers in the engine's process that answer at once, and over HTTP on loopback."""

import tempfile

from .bed import Talker, bed, cpu_seconds, peak_mib


def one_round(number, programs, options):
    """For each number of targets: once at a light load, for the latency, and once with all files at once; both ways."""
    results = {}
    with bed() as servers, tempfile.TemporaryDirectory(prefix="consign-bench-state-") as state:
        # The broker's code is compiled while it runs: nobody is to be the first.
        for turn in range(2):
            one(f"warm-up {turn}", number, programs, options, servers, state, ("instant", 5, 400, 6_000))
        for way in options.ends_ways:
            for targets in options.ends_targets:
                for load, rate, files in (("light", options.rate, options.rate * 10),
                                          ("saturation", 0, options.ends_dispatches // targets)):
                    name = f"{way} {load} {targets}"
                    how = (way, targets, rate, files)
                    results[name] = one(name, number, programs, options, servers, state, how)
                    print(f"  round {number}: {name}: {brief(results[name])}", flush=True)
    return results


def brief(result):
    return (f"p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms, {result['files_per_second']:,.0f} files/s, "
            f"{result['dispatches_per_cpu_second']:,.0f} dispatches per CPU-second")


def one(name, number, programs, options, servers, state, how):
    way, targets, rate, files = how
    prefix = f"ends-{number}-{name.replace(' ', '-')}."
    sizes = ["--files", files, "--targets", targets, "--partitions", options.partitions]
    logs = f"{options.out}/{prefix}"
    receivers = None
    if way == "http":
        receivers = Talker("receive", [programs.rust, "receive"], servers, logs + "receive.log")
        sizes += ["--port", receivers.hear("LISTENING")["port"], "--concurrency", options.concurrency]
    announcer = Talker("announce", [programs.rust, "announce", "--prefix", prefix, "--rate", rate, *sizes], servers,
                       logs + "announce.log")
    announcer.hear("LOADED")
    contestant = {"instant": "whole", "http": "product"}[way]
    engine = Talker(contestant, [programs.rust, contestant, "--prefix", prefix, "--workers", options.workers, "--store",
                              f"{state}/{prefix}", *sizes], servers, logs + "log")
    engine.hear("READY")
    announcer.say("warm")
    announcer.hear("WARM")
    broker = int(servers["BROKER_PID"])
    before, broker_before = engine.cpu(), cpu_seconds(broker)
    announcer.say("go")
    done = announcer.hear("DONE")
    cpu, broker_cpu = engine.cpu() - before, cpu_seconds(broker) - broker_before
    bare = announcer.hear("BARE")
    result = {
        "files": files,
        "targets": targets,
        "seconds": done["seconds"],
        "files_per_second": files / done["seconds"],
        "p50_ms": done["latency_ms"]["p50"],
        "p99_ms": done["latency_ms"]["p99"],
        "p999_ms": done["latency_ms"]["p999"],
        "two_bare_transactions_p99_ms": bare["two_transactions_ms"]["p99"],
        "dispatches_per_cpu_second": files * targets / cpu,
        "cpu_us_per_dispatch": cpu / files / targets * 1e6,
        "broker_cpu_us_per_dispatch": broker_cpu / files / targets * 1e6,
        "peak_mib": peak_mib(engine.pid),
    }
    engine.close()
    announcer.close()
    if receivers:
        receivers.close()
    return result
