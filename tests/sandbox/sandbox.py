"""One sandbox: a Kubernetes control plane with a node, and the AWS API beside it."""

import contextlib
import ctypes
import fcntl
import json
import os
import queue
import random
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import string
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import bootstrap
from bootstrap import HERE, TARGET, Failure

ACCOUNT = "123456789012"
REGION = "us-west-2"
CLUSTER = "eksdemo1"
# Whom the commands run as; a cluster admin.
ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"

READY_WITHIN = 60  # seconds; 4 is usual
UNSET = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Ended(BaseException):
    """A signal asked for the end."""

    def __init__(self, number):
        self.number = number


def end_on_signals():
    """Makes SIGINT, SIGTERM and SIGHUP an exception, so that everything is cleaned up."""

    def handle(number, _frame):
        raise Ended(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)


def end_on_stdin_eof():
    """Ends this process, as SIGTERM does, when whoever holds the other end of stdin is gone.

    Not PR_SET_PDEATHSIG: that signal comes when the thread that started us
    ends, and in a Rust test each test has a thread of its own.
    """

    def watch():
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


class Sandbox:
    """`with Sandbox() as sandbox:` starts one; `sandbox.facts` says where everything is."""

    def __enter__(self):
        self._servers = {}
        self._stack = contextlib.ExitStack()
        try:
            self.dir = self._stack.enter_context(_state_dir())
            self._stack.callback(self._stop)
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # What ends us has come; the next signal must not interrupt the cleaning.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._stack.close()

    def check(self):
        """Fails when a server has ended."""
        for name, server in self._servers.items():
            code = server.poll()
            if code is not None:
                log = self._log(name).read_text(errors="replace").splitlines()[-20:]
                raise Failure("\n".join([f"the sandbox's {name} server ended: exit code {code}"] + log))

    def _start(self):
        port = _free_port()
        aws = f"http://127.0.0.1:{port}"
        secret = secrets.token_hex(16)
        issuer = f"https://oidc.eks.{REGION}.amazonaws.com/id/{secrets.token_hex(16).upper()}"
        key, key_secret = _access_key(), secrets.token_urlsafe(30)

        launcher = _flags(
            port=port,
            account=ACCOUNT,
            region=REGION,
            cluster=CLUSTER,
            secret=secret,
            admin_key=key,
            admin_secret=key_secret,
        )
        root = {"AWS_ACCESS_KEY_ID": _access_key(), "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30)}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        clean["PYTHONDONTWRITEBYTECODE"] = "1"
        self._serve("aws", [bootstrap.PYTHON, HERE / "aws" / "launcher.py", *launcher], clean | root)

        images = [f"--image=external-dns:{v}={bootstrap.external_dns(v)}" for v in bootstrap.EXTERNAL_DNS]
        webhook = f"{aws}/_ministack/eks-auth/{ACCOUNT}/{REGION}/{CLUSTER}/{secret}"
        flags = _flags(dir=self.dir / "kube", issuer=issuer, auth_webhook=webhook, aws_url=aws, cluster_admin=ADMIN)
        kube = self._serve("kube", [bootstrap.BIN / "kube", *flags, *images], clean, stdout=subprocess.PIPE)

        deadline = time.monotonic() + READY_WITHIN
        cluster = self._first_line("kube", kube, deadline)
        self._wait_for(f"{aws}/_ministack/health", "aws", deadline)
        # The servers' addresses change with every start, so AWS hears of the cluster now.
        post(
            f"{aws}/_sandbox/cluster",
            {
                "name": CLUSTER,
                "endpoint": cluster["server"],
                "caFile": cluster["caFile"],
                "issuer": issuer,
                "publicKeyFile": cluster["saPublicKey"],
            },
        )
        post(f"{aws}/_sandbox/seed")

        kubeconfig = self.dir / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG.format(**cluster))
        exports = {
            "AWS_ENDPOINT_URL": aws,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": key_secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "KUBECONFIG": str(kubeconfig),
        }
        if any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")):
            for name in ("NO_PROXY", "no_proxy"):
                exports[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
        self.facts = {
            "exports": exports,
            "server": cluster["server"],
            "apiServer": cluster["apiServer"],
            "caFile": cluster["caFile"],
            "adminToken": cluster["adminToken"],
            "control": cluster["control"],
            "auditLog": cluster["auditLog"],
            "issuer": issuer,
            "account": ACCOUNT,
            "region": REGION,
            "cluster": CLUSTER,
            "awsUrl": aws,
            "adminArn": ADMIN,
            "adminKey": key,
            "adminSecret": key_secret,
            "rootKey": root["AWS_ACCESS_KEY_ID"],
            "rootSecret": root["AWS_SECRET_ACCESS_KEY"],
            "stateDir": str(self.dir),
            "kubeconfig": str(kubeconfig),
            "awsLog": str(self._log("aws")),
            "kubeLog": str(self._log("kube")),
        }
        (self.dir / "env").write_text(self.shell())

    def shell(self):
        """Lines for a shell that point its commands to the sandbox."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.facts["exports"].items()]
        foreign = _foreign()
        return "\n".join(lines + ([f"unset {' '.join(foreign)}"] if foreign else [])) + "\n"

    def environment(self):
        """The environment of commands that are to use the sandbox."""
        env = {k: v for k, v in os.environ.items() if k not in _foreign()}
        return env | self.facts["exports"]

    def kubernetes(self, method, path, body=None, content_type="application/json"):
        """A call to the Kubernetes API with all rights."""
        context = ssl.create_default_context(cafile=self.facts["caFile"])
        headers = {"Authorization": f"Bearer {self.facts['adminToken']}", "Content-Type": content_type}
        return _call(method, self.facts["apiServer"] + path, body, headers, context)

    def _log(self, name):
        return self.dir / f"{name}.log"

    def _serve(self, name, command, env, stdout=None):
        """Starts a server which ends with us: at the end of its stdin, or by a signal if we are killed."""
        with open(self._log(name), "ab") as log:
            server = self._servers[name] = subprocess.Popen(
                [str(part) for part in command],
                env=env,
                cwd=self.dir,
                stdin=subprocess.PIPE,
                stdout=stdout or log,
                stderr=log,
                # Not in the terminal's process group: Ctrl-C is ours to handle.
                start_new_session=True,
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
            )
        return server

    def _stop(self):
        for server in self._servers.values():
            with contextlib.suppress(OSError):
                server.stdin.close()
        deadline = time.monotonic() + 10
        for end in (None, signal.SIGTERM, signal.SIGKILL):
            for server in self._servers.values():
                if end is not None and server.poll() is None:
                    server.send_signal(end)
            for server in self._servers.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(max(0.1, deadline - time.monotonic()))
            deadline = time.monotonic() + 5

    def _first_line(self, name, server, deadline):
        lines = queue.SimpleQueue()

        def read():
            for line in server.stdout:
                lines.put(line)

        threading.Thread(target=read, daemon=True).start()
        while True:
            with contextlib.suppress(queue.Empty):
                return json.loads(lines.get(timeout=0.1))
            self._not_yet(name, deadline)

    def _wait_for(self, url, name, deadline):
        while True:
            with contextlib.suppress(OSError):
                return _call("GET", url)
            self._not_yet(name, deadline)
            time.sleep(0.03)

    def _not_yet(self, name, deadline):
        self.check()
        if time.monotonic() > deadline:
            raise Failure(f"the sandbox's {name} server was not ready within {READY_WITHIN} s")


def post(url, body=None):
    """A POST to a control address of the sandbox."""
    return _call("POST", url, body)


def _call(method, url, body=None, headers=None, context=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | (headers or {}), method=method)
    handlers = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as response:
            answer = response.read()
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")[:500]
        raise Failure(f"{method} {url}: {error.code} {error.reason}: {text}") from None
    return json.loads(answer) if answer[:1] in (b"{", b"[") else answer.decode()


@contextlib.contextmanager
def _state_dir():
    """A folder for one sandbox's lifetime. Those that killed ones left are removed first."""
    run = TARGET / "run"
    run.mkdir(parents=True, exist_ok=True)
    with open(run / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in run.glob("*/"):
            with open(left / ".lock", "a") as owner, contextlib.suppress(BlockingIOError):
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix="", dir=run))
        owner = open(path / ".lock", "a")
        fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        owner.close()


def _free_port():
    """Below the ports that the kernel gives to outgoing connections: none of those takes it meanwhile."""
    for _ in range(200):
        port = random.randint(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failure("no free port between 20000 and 32000")


def _flags(**flags):
    return [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]


def _access_key():
    return "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))


def _foreign():
    """Variables of ours that would send the commands elsewhere, or to someone else's account."""
    return sorted(name for name in os.environ if name in UNSET or name.startswith("AWS_ENDPOINT_URL_"))


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: sandbox
clusters:
- name: sandbox
  cluster:
    server: {server}
    certificate-authority: {caFile}
contexts:
- name: sandbox
  context: {{cluster: sandbox, user: admin}}
users:
- name: admin
  user:
    token: {adminToken}
"""
