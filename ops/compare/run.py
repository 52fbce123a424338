#!/usr/bin/env python3
"""Measures Tombolo beside etcd and PostgreSQL, on the same machine, in the same run.

One region of Tombolo (three zones, security and streams on; unary gRPC, the DynamoDB protocol and gRPC
sessions), three etcd members (Debian's etcd-server), and PostgreSQL with two quorum-synchronous standbys
(Debian's postgresql) run one after the other, each driven by 64 closed-loop callers with 1 KiB values; then the
floors: bare echoes of the same payload for each protocol, and a bare fdatasync loop. Everything lives in one
temporary folder and listens on loopback only.

    python3 ops/compare/run.py [--seconds 10] [--rounds 5] [--tombolo target/release/tombolo]

Needs Debian's etcd-server and postgresql packages. Prints one JSON line for each measurement, then the medians.
"""

import argparse
import collections
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

CLIENTS, ITEMS, BYTES = 64, 20_000, 1_024


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(what, probe, seconds=60):
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come up within {seconds} s")
        time.sleep(0.1)


class Processes:
    """Children that are ended, by the pids we started, whatever happens."""

    def __init__(self):
        self.children = []

    def start(self, command, log, **options):
        child = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT, **options)
        self.children.append(child)
        return child

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for child in reversed(self.children):
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def bench(tombolo, *arguments):
    command = [tombolo, "bench", "--clients", str(CLIENTS), "--items", str(ITEMS)]
    command += ["--item-bytes", str(BYTES), "--output", "json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def figures(latencies):
    return {key: round(latencies[key], 2) for key in ("per_second", "p50_ms", "p99_ms")}


def tombolo(program, folder, seconds):
    base = 20_000 + (os.getpid() % 50) * 100
    log = folder / "tombolo.log"
    command = [program, "dev", "--regions", "one", "--dir", str(folder / "tombolo")]
    with Processes() as processes:
        processes.start([*command, "--base-port", str(base)], log)
        cluster = folder / "tombolo" / "cluster.json"
        wait_for("tombolo dev", cluster.exists)
        nodes = json.loads(cluster.read_text())["regions"][0]["nodes"]
        at = ["--endpoint", ",".join(node["grpc"] for node in nodes), "--cluster", str(cluster)]
        at += ["--duration", str(seconds)]
        floors = {}
        for protocol in ("grpc", "dynamodb", "session"):
            by = [*at, "--protocol", protocol]
            with_floors = ["--floors"] if protocol == "grpc" else []
            write = bench(program, *by, "--workload", "write", *with_floors)
            read = bench(program, *by, "--workload", "c", *with_floors)
            eventual = bench(program, *by, "--workload", "c", "--eventual")
            half = str(int(write["per_second"] / 2))
            paced = bench(program, *by, "--workload", "write", "--rate", half)
            yield f"tombolo {protocol} writes", figures(write["writes"])
            yield f"tombolo {protocol} writes at half the peak", figures(paced["writes"])
            yield f"tombolo {protocol} strong reads", figures(read["reads"])
            yield f"tombolo {protocol} eventual reads", figures(eventual["reads"])
            if with_floors:
                floors = {"put": write["floors"], "get": read["floors"]}
        for what, floor in floors.items():
            yield f"floor: gRPC echo of a {what}", figures(floor["echo"])
            yield f"floor: session echo of a {what}", figures(floor["session_echo"])
            yield f"floor: axum JSON echo of a {what}", figures(floor["http_echo"])
        yield "floor: fdatasync of one item", figures(floors["put"]["fdatasync"])


def etcd(program, folder, seconds):
    ports = free_ports(6)
    peers = [f"m{i}=http://127.0.0.1:{ports[2 * i]}" for i in range(3)]
    clients = [f"http://127.0.0.1:{ports[2 * i + 1]}" for i in range(3)]
    with Processes() as processes:
        for i in range(3):
            peer = f"http://127.0.0.1:{ports[2 * i]}"
            processes.start(
                ["etcd", "--name", f"m{i}", "--data-dir", str(folder / f"etcd{i}"),
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--listen-client-urls", clients[i], "--advertise-client-urls", clients[i],
                 "--initial-cluster", ",".join(peers), "--quota-backend-bytes", str(8 << 30)],
                folder / f"etcd{i}.log",
            )
        def healthy():
            probe = ["curl", "-sf", f"{clients[0]}/health"]
            return b"true" in subprocess.run(probe, capture_output=True).stdout
        wait_for("etcd", healthy)
        at = ["--etcd", ",".join(clients), "--duration", str(seconds)]
        yield "etcd writes", figures(bench(program, *at, "--workload", "write")["writes"])
        yield "etcd linearizable reads", figures(bench(program, *at, "--workload", "c")["reads"])


def postgres_programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not found:
        raise SystemExit("PostgreSQL is not here: apt-get install postgresql")
    return pathlib.Path(found[-1]).parent


def postgresql(_program, folder, seconds):
    programs = postgres_programs()
    home = folder / "postgres"
    home.mkdir()
    user = None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        user = "postgres"
        account = pwd.getpwnam(user)
        os.chmod(folder, 0o755)
        os.chown(home, account.pw_uid, account.pw_gid)
    ports = free_ports(3)

    def run(command, **options):
        return subprocess.run([str(part) for part in command], check=True, user=user, cwd=home,
                              capture_output=True, text=True, **options)

    common = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}",
              "-c", "max_connections=200", "-c", "shared_buffers=256MB"]
    connect = ["-h", "127.0.0.1", "-p", ports[0], "-U", "bench", "postgres"]
    with Processes() as processes:
        data = [home / f"data{i}" for i in range(3)]
        run([programs / "initdb", "-D", data[0], "-U", "bench", "-A", "trust"])

        def start(i, *more):
            command = [programs / "postgres", "-D", data[i], "-p", ports[i], *common, *more]
            processes.start([str(part) for part in command], folder / f"postgres{i}.log",
                            user=user, cwd=home)
            def ready():
                probe = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(ports[i])]
                return subprocess.run(probe, capture_output=True).returncode == 0
            wait_for(f"PostgreSQL {i}", ready)

        start(0, "-c", "synchronous_standby_names=ANY 1 (s1, s2)")
        for i in (1, 2):
            source = f"host=127.0.0.1 port={ports[0]} user=bench application_name=s{i}"
            run([programs / "pg_basebackup", "-D", data[i], "-R", "-X", "stream", "-d", source])
            start(i)
        def streaming():
            ask = "select count(*) from pg_stat_replication where sync_state = 'quorum'"
            return run(["psql", *connect, "-Atc", ask]).stdout.strip() == "2"
        wait_for("the standbys", streaming)
        setup = (
            "create table kv (id bigint primary key, v bytea not null);"
            f"insert into kv select i, decode(repeat('a7', {BYTES - 50}), 'hex')"
            f" from generate_series(0, {ITEMS - 1}) i; analyze kv;"
        )
        run(["psql", *connect, "-c", setup])
        draw = f"\\set id random(0, {ITEMS - 1})\n"
        scripts = {
            "postgresql writes": f"update kv set v = decode(repeat('b8', {BYTES - 50}), 'hex') where id = :id;",
            "postgresql reads": "select v from kv where id = :id;",
        }
        for name, sql in scripts.items():
            script = home / "script.sql"
            script.write_text(draw + sql + "\n")
            for old in home.glob("pgbench_log*"):
                old.unlink()
            run(["pgbench", "-n", "-M", "prepared", "-c", CLIENTS, "-j", 2, "-T", seconds, "-l",
                 "-f", script, *connect])
            times = [int(line.split()[2]) for log in home.glob("pgbench_log*") for line in open(log)]
            times.sort()
            at = lambda share: times[min(len(times) - 1, int(len(times) * share))] / 1e3
            yield name, {"per_second": round(len(times) / seconds, 2),
                         "p50_ms": round(at(0.5), 2), "p99_ms": round(at(0.99), 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tombolo", default="target/release/tombolo")
    parser.add_argument("--only", choices=["tombolo", "etcd", "postgresql"], action="append")
    arguments = parser.parse_args()
    results = collections.defaultdict(list)
    program = os.path.abspath(arguments.tombolo)
    for _ in range(arguments.rounds):
        for system in (tombolo, etcd, postgresql):
            if arguments.only and system.__name__ not in arguments.only:
                continue
            folder = pathlib.Path(tempfile.mkdtemp(prefix="tombolo-compare-"))
            try:
                for name, measured in system(program, folder, arguments.seconds):
                    results[name].append(measured)
                    print(json.dumps({"what": name, **measured}), flush=True)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{'median of ' + str(arguments.rounds):40} {'per second':>12} {'p50 ms':>9} {'p99 ms':>9}")
    for name, runs in results.items():
        middle = lambda key: statistics.median(run[key] for run in runs)
        print(f"{name:40} {middle('per_second'):12.0f} {middle('p50_ms'):9.2f} {middle('p99_ms'):9.2f}")


if __name__ == "__main__":
    main()
