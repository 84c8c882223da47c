"""Contests 1 and 2: reports folded into file-state, beside Kafka Streams and beside the bare client."""

import tempfile
import time

from .bed import Talker, bed, cpu_seconds, peak_mib, resident_mib

CONTESTANTS = ("consign", "bare", "streams", "streams-tuned")


def one_round(number, programs, options, only=CONTESTANTS):
    """Runs every contestant once; gives what was measured of each."""
    results = {}
    with bed() as servers, tempfile.TemporaryDirectory(prefix="consign-bench-state-") as state:
        for name in CONTESTANTS:
            if name in only:
                results[name] = one(name, number, programs, options, servers, state, results)
                print(f"  round {number}: {name}: {brief(results[name])}", flush=True)
    return results


def brief(result):
    return (f"{result['records_per_cpu_second']:,.0f} records per CPU-second, "
            f"{result['records_per_second']:,.0f} a second, {result['peak_mib']:,.0f} MiB")


def one(name, number, programs, options, servers, state, results):
    prefix = f"join-{number}-{name}."
    group = prefix + ("app" if name.startswith("streams") else "engine")
    sizes = ["--files", options.files, "--targets", options.targets, "--partitions", options.partitions]
    logs = f"{options.out}/{prefix}"
    loader = Talker("loader", [programs.rust, "load", "--prefix", prefix, "--group", group, *sizes], servers,
                    logs + "load.log")
    loaded = loader.hear("LOADED")
    contestant = Talker(name, command(name, prefix, group, programs, options, servers, state, results), servers, logs + "log")
    if name.startswith("streams"):
        loader.say("await")
        loader.hear("READY")
    else:
        contestant.hear("READY")
    # What it still does of its own accord after its start is not the join.
    time.sleep(2)
    broker = int(servers["BROKER_PID"])
    before, broker_before, resident = contestant.cpu(), cpu_seconds(broker), resident_mib(contestant.pid)
    loader.say("go")
    done = loader.hear("DONE")
    cpu, broker_cpu = contestant.cpu() - before, cpu_seconds(broker) - broker_before
    records = loaded["reports"]
    result = {
        "records": records,
        "input_bytes": loaded["report_bytes"],
        "seconds": done["seconds"],
        "cpu_seconds": cpu,
        "records_per_second": records / done["seconds"],
        "records_per_cpu_second": records / cpu,
        "cpu_us_per_record": cpu / records * 1e6,
        "broker_cpu_us_per_record": broker_cpu / records * 1e6,
        "peak_mib": peak_mib(contestant.pid),
        "resident_before_mib": resident,
    }
    if name == "consign":
        contestant.say("figures")
        result |= contestant.hear("FIGURES")
    contestant.close()
    loader.close()
    return result


def command(name, prefix, group, programs, options, servers, state, results):
    workers = ["--workers", options.workers]
    if name == "consign":
        store = ["--store", f"{state}/{prefix}"] if options.store == "disk" else []
        return [programs.rust, "join", "--prefix", prefix, "--partitions", options.partitions, *workers, *store]
    if name == "bare":
        written, records = results["consign"]["written"], results["consign"]["records"]
        each = {topic: written.get(topic, (0, 0))[0] / records for topic in ("history", "file-state")}
        return [programs.rust, "bare", "--prefix", prefix, "--like", prefix.replace("bare", "consign"),
                "--partitions", options.partitions, *workers, "--batch", options.bare_batch,
                "--history-each", each["history"], "--file-state-each", each["file-state"]]
    tuned = name == "streams-tuned"
    jvm = ["-XX:+UseParallelGC", "-Xms1g", "-Xmx1g"] if tuned else []
    return ["java", *jvm, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", programs.streams, "bench.Join",
            "--prefix", prefix, "--out", prefix + "history", "--group", group, "--kafka", servers["KAFKA_BOOTSTRAP"], *workers,
            "--state", f"{state}/{prefix}", "--tuned", str(tuned).lower()]
