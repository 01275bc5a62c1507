"""A stage: a server host and a client host of their own, one cable between them, and tcpdump on it.

Bound: a stage lives at most STAGE_S seconds, a client CLIENT_S; what outlives that is killed with its namespace.
The namespaces have no name: they, their mounts, the cable and every process inside end with the process that holds
them, also when the recorder itself is killed. There is no route out, so nothing leaves them.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

STAGE_S = 60
CLIENT_S = 10
READY_S = 10
# Private copies of what daemons share with the machine: pid files, sockets, X displays, rpcbind's and NFS's state.
HOLD = """
ip link set lo up
mkdir -p -m 1777 /tmp/.X11-unix
for d in /run /var/lib/nfs /tmp/.X11-unix; do [ ! -d "$d" ] || mount -t tmpfs -o mode=1777 tmpfs "$d"; done
mkdir -p /run/lock /run/rpcbind
echo ready
exec sleep %d
"""
VENV = Path(__file__).resolve().parents[2] / "target" / "venv"
PATH = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin"

LIVE = set()


class Failed(Exception):
    """A recording that did not work; the message says what and shows the end of the server's log."""


class Host:
    """One network, mount and process namespace."""

    def __init__(self):
        self.holder = subprocess.Popen(
            # --pdeathsig: nor does a stage outlive a recorder that was killed.
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-ec", HOLD % STAGE_S],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.holder.stdout.readline() != "ready\n":
            raise Failed("no namespaces here: run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN (unshare failed)")
        self.pid = int(Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()[0])

    def inside(self, argv, user=None, folder=None):
        argv = [str(a) for a in argv]
        if folder:
            argv = ["env", "-C", str(folder), *argv]  # nsenter --mount goes to /
        if user:
            argv = ["setpriv", f"--reuid={user}", f"--regid={group_of(user)}", "--init-groups", *argv]
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", *argv]

    def close(self):
        self.holder.kill()  # --kill-child: the namespace's first process goes too, and with it all others
        self.holder.wait()
        self.holder.stdout.close()


class Stage:
    """What a recording is given: `server` and `client` addresses, a folder, and the verbs below."""

    def __init__(self, name, number, out):
        self.name, self.capture = name, out / f"{name}.pcap"
        self.server, self.client = f"10.250.{number}.1", f"10.250.{number}.2"
        self.rows, self.hosts, self.tcpdump = [], [], None
        self.folder = Path(tempfile.mkdtemp(prefix=f"ewt-{name}-"))
        self.folder.chmod(0o777)
        LIVE.add(self)
        self.log = open(self.folder / "server.log", "w+")
        try:
            self.hosts = [Host(), Host()]
            self.serving, self.asking = self.hosts
            self.cable(number)
        except BaseException:
            self.close()
            raise

    def cable(self, number):
        call("ip", "link", "add", "eth0", "netns", self.serving.pid, "type", "veth",
             "peer", "name", "eth0", "netns", self.asking.pid)
        for host, address, last in ((self.serving, self.server, 1), (self.asking, self.client, 2)):
            # Locally administered, and the same in each run.
            call(*host.inside(["ip", "link", "set", "eth0", "address", f"52:54:00:fa:{number:02x}:{last:02x}", "up"]))
            call(*host.inside(["ip", "address", "add", f"{address}/24", "dev", "eth0"]))
        self.tcpdump = subprocess.Popen(
            self.serving.inside(["tcpdump", "-Z", "root", "-i", "eth0", "-s", "0", "-U", "--immediate-mode",
                                 "-w", self.capture]),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if "listening on" not in self.tcpdump.stderr.readline():
            raise Failed("tcpdump did not start")

    def serve(self, *argv, tcp=(), udp=(), user=None, env=None, host=None, ready_s=READY_S):
        """Starts a server and waits until it listens on those ports."""
        host = host or self.serving
        started = subprocess.Popen(host.inside(argv, user, self.folder), stdin=subprocess.DEVNULL, stdout=self.log,
                                   stderr=self.log, env=environment(self.folder, env))
        until = time.monotonic() + ready_s
        waiting = [("tcp", p) for p in tcp] + [("udp", p) for p in udp]
        while waiting := [w for w in waiting if not listens(host.pid, *w)]:
            if time.monotonic() > until or started.poll() not in (None, 0):
                how = "ended before it listened" if started.poll() else f"does not listen after {ready_s} s"
                raise Failed(f"{Path(str(argv[0])).name} {how}: {waiting}\n{self.said()}")
            time.sleep(0.05)
        return started

    def prepare(self, *argv, user=None, stdin="", env=None, host=None):
        """Runs a command beside the server that must succeed (set-up)."""
        return self.run(host or self.serving, argv, user, stdin, env, 30, (0,))

    def ask(self, *argv, user=None, stdin="", env=None, status=(0,), seconds=CLIENT_S):
        """Runs a client to its end; `status` lists the ends that are right (a refused login is an exchange too)."""
        return self.run(self.asking, argv, user, stdin, env, seconds, status)

    def ask_python(self, code, *args, **more):
        """Runs a client written for the venv's Python; `HOST` is the server's address."""
        return self.ask(VENV / "bin/python", "-c", f"HOST = '{self.server}'\n{code}", *args, **more)

    def serve_python(self, code, **more):
        return self.serve(VENV / "bin/python", "-c", code, **more)

    def serve_canary(self, module, port, transport="tcp", **settings):
        """One module of OpenCanary, an implementation of many servers' first words in Python."""
        log = {"class": "PyLogger", "kwargs": {
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}}}}
        config = {"device.node_id": "ewt", "logger": log, f"{module}.enabled": True, f"{module}.port": port}
        config |= {f"{module}.{key}": value for key, value in settings.items()}
        (self.folder / "opencanary.conf").write_text(json.dumps(config))
        self.serve(VENV / "bin/twistd", "--pidfile=", "-noy", VENV / "bin/opencanary.tac", **{transport: [port]})

    def expect(self, transport, port, app, product="", version=""):
        """What a reader of the capture should say of a service; empty: the server does not tell."""
        self.rows.append((transport, port, app, product, version))

    def run(self, host, argv, user, stdin, env, seconds, status):
        argv = ["timeout", "-k", "1", str(seconds), *argv]
        ran = subprocess.run(host.inside(argv, user, self.folder), input=stdin, capture_output=True, text=True,
                             errors="replace", env=environment(self.folder, env), timeout=seconds + 5)
        if status and ran.returncode not in status:
            raise Failed(f"`{' '.join(map(str, argv[4:]))[:200]}` ended with {ran.returncode}\n"
                         f"{(ran.stdout + ran.stderr)[-1500:]}\n{self.said()}")
        return ran.stdout + ran.stderr

    def said(self):
        self.log.flush()
        return Path(self.log.name).read_text(errors="replace")[-1500:]

    def close(self):
        if self.tcpdump:
            time.sleep(0.3)  # the last segments are still on their way to tcpdump
        for host in self.hosts:
            host.close()
        if self.tcpdump:
            self.tcpdump.wait()  # -U: each packet was written as it came, so a killed tcpdump leaves a whole file
            self.tcpdump.stderr.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        LIVE.discard(self)


def abandon(*_):
    """On SIGINT and SIGTERM: ends the stages that are up, with their folders, and the recorder."""
    for stage in list(LIVE):
        for host in stage.hosts:
            host.holder.kill()
        shutil.rmtree(stage.folder, ignore_errors=True)
    os._exit(1)


def call(*argv):
    ran = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if ran.returncode:
        raise Failed(f"{' '.join(map(str, argv))}: {ran.stderr.strip()}")
    return ran.stdout


def group_of(user):
    return call("id", "-g", user).strip()


def environment(folder, more):
    # None of the caller's settings (proxies, PG*, HOME) may steer a server or a client.
    return {"PATH": PATH, "HOME": str(folder), "LC_ALL": "C.UTF-8", "TERM": "dumb", **(more or {})}


def listens(pid, transport, port):
    listening = "0A" if transport == "tcp" else "07"
    for family in ("", "6"):
        try:
            lines = Path(f"/proc/{pid}/net/{transport}{family}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == listening and int(fields[1].rsplit(":", 1)[1], 16) == port:
                return True
    return False


def certificate(stage, owner=None):
    """A self-signed certificate in the stage's folder, for STARTTLS and TLS."""
    key, cert = stage.folder / "key.pem", stage.folder / "cert.pem"
    call("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={stage.name}.test",
         "-keyout", key, "-out", cert)
    key.chmod(0o600)
    if owner:
        shutil.chown(key, owner)
    return key, cert
