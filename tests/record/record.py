#!/usr/bin/python3
"""Records captures from real servers and clients, each pair in namespaces of its own (stage.py).

    record.py [--allow-missing] [--list] OUT_DIR [PROTOCOL...]

Writes OUT_DIR/PROTOCOL-IMPLEMENTATION.pcap and OUT_DIR/recorded.tsv: what a reader should say of each service.
Bound: AT_ONCE stages at a time, each at most a minute. Exit 1 when a recording failed or a server is missing.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
from stage import PATH, VENV, Failed, Stage, abandon  # noqa: E402

AT_ONCE = 4
ROSTER = []
HEADER = ("capture", "protocol", "implementation", "server_ip", "proto", "port", "app_proto", "product", "version")


def recording(protocol, implementation, needs=None, modules=()):
    """Registers a recording. `needs`: program to the Debian package that has it; `modules`: of requirements.txt."""

    def register(function):
        ROSTER.append((protocol, implementation, needs or {}, modules, function))
        return function

    return register


sys.modules.setdefault("record", sys.modules[__name__])
import databases  # noqa: E402, F401
import desktops  # noqa: E402, F401
import directories  # noqa: E402, F401
import mail  # noqa: E402, F401
import middleware  # noqa: E402, F401
import networks  # noqa: E402, F401


def main(arguments):
    flags = {a for a in arguments if a.startswith("--")}
    plain = [a for a in arguments if not a.startswith("--")]
    known = sorted({entry[0] for entry in ROSTER})
    if "--list" in flags:
        print("\n".join(f"{protocol}\t{implementation}" for protocol, implementation, *_ in ROSTER))
        return 0
    wrong = [p for p in plain[1:] if p not in known]
    if not plain or wrong or flags - {"--allow-missing"}:
        print(f"usage: record.py [--allow-missing] [--list] OUT_DIR [PROTOCOL...]\nprotocols: {' '.join(known)}",
              file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("recording makes network namespaces: run it as root", file=sys.stderr)
        return 1
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, abandon)
    out = Path(plain[0]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    chosen = [(n, e) for n, e in enumerate(ROSTER, 1) if not plain[1:] or e[0] in plain[1:]]
    rows, faults, missing = [], [], set()
    lock = threading.Lock()

    def one(numbered):
        number, (protocol, implementation, needs, modules, function) = numbered
        name = f"{protocol}-{implementation}"
        lacking = {package for program, package in needs.items() if not shutil.which(program, path=PATH)}
        lacking |= {f"{module} (PyPI: tests/record/requirements.txt)" for module in modules if not has_module(module)}
        try:
            expected = [] if lacking else record(name, number, out, function)
            fault = None
        except (Failed, OSError, subprocess.SubprocessError) as why:
            expected, fault = [], f"{name}: {why}"
        with lock:
            missing.update(lacking)
            faults.extend([fault] if fault else [])
            rows.extend((name + ".pcap", protocol, implementation, f"10.250.{number}.1", *row) for row in expected)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, chosen))
    with open(out / "recorded.tsv", "w", encoding="utf-8") as table:
        for row in [HEADER, *sorted(rows)]:
            print(*row, sep="\t", file=table)
    for package in sorted(missing):
        print(f"missing: {package}", file=sys.stderr)
    for fault in sorted(faults):
        print(f"failed: {fault}", file=sys.stderr)
    return 1 if faults or (missing and "--allow-missing" not in flags) else 0


def record(name, number, out, function):
    stage = Stage(name, number, out)
    try:
        function(stage)
    except BaseException:
        stage.close()
        stage.capture.unlink(missing_ok=True)
        raise
    stage.close()
    return stage.rows


def has_module(name):
    return any((VENV / "lib").glob(f"python3*/site-packages/{name}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
