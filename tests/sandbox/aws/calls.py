"""Records every AWS call, and injects faults into those that a rule matches."""

import asyncio
import collections
import contextvars
import fnmatch
import json
import random
import re
import time
import uuid
from urllib.parse import parse_qs
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.events import StreamClosed
from ministack import app as ministack
from ministack.core import iam_actions
from ministack.core.router import detect_service, extract_access_key_id

# The call that is being answered; the tasks that it starts (stacks) see it, too.
CURRENT = contextvars.ContextVar("call", default=None)

_STACK_ACTIONS = ("CreateStack", "UpdateStack", "DeleteStack", "CreateChangeSet", "ExecuteChangeSet")
_NOT_RECORDED = re.compile(r"Action|Version|WebIdentityToken|SAMLAssertion|.*Password|.*Secret.*|(?i:x-amz-.*)")
XML_NAMESPACES = {
    "cloudformation": "http://cloudformation.amazonaws.com/doc/2010-05-15/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "route53": "https://route53.amazonaws.com/doc/2013-04-01/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}


class Call:
    def __init__(self, scope, body):
        self.start = time.time()
        self.end = self.status = self.code = self.fault = None
        # The right to tag that the call needs beside its own.
        self.tagging = None
        # The rights that it was held to: its own, and those of what CloudFormation does for it.
        self.rights = []
        self.slow_stacks = []
        self.body = body
        self.method, self.path = scope["method"], scope["path"]
        self.headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in scope["headers"]}
        query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        routing = ministack._routing_params(self.method, self.path, self.headers, body, query)
        self.service = detect_service(self.method, self.path, self.headers, routing)
        self.access_key = extract_access_key_id(self.headers, query)
        agents = [self.headers.get("user-agent", ""), self.headers.get("x-amz-user-agent", "")]
        self.user_agent = " ".join(dict.fromkeys(filter(None, agents)))
        self.params = {name: values[0] if len(values) == 1 else values for name, values in routing.items()}
        self.action = self.params.get("Action")
        if self.action is None:
            self.action, labels = _operation(self.service, self.method, self.path)
            self.params |= labels | _structured(body)
        if self.action is None:
            named = iam_actions.extract_iam_action(self.service, self.method, self.path, self.headers, body, routing)
            self.action = named.split(":")[1] if named else None

    def json(self, number):
        return {
            "n": number,
            "service": self.service,
            "action": self.action,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "ms": None if self.end is None else round((self.end - self.start) * 1000, 3),
            "start": self.start,
            "end": self.end,
            "userAgent": self.user_agent,
            "accessKey": self.access_key,
            "params": {k: v for k, v in self.params.items() if not _NOT_RECORDED.fullmatch(k)},
            "fault": self.fault,
            "rights": self.rights,
        }

    def answered(self, status, headers, body):
        self.end, self.status = time.time(), status
        if status >= 400:
            kind = dict(headers).get(b"x-amzn-errortype")
            found = re.search(rb"<Code>([^<]*)</Code>", body) or re.search(rb'"__type": ?"([^"]*)"', body)
            code = kind or (found and found[1]) or b""
            self.code = code.decode().split(":")[0] or None


def _operation(service, method, path):
    """The AWS name of a REST call, and what its path names."""
    for verb, pattern, operation in _routes(service):
        if verb == method and (found := pattern.fullmatch(path.rstrip("/"))):
            return operation, found.groupdict()
    return None, {}


_ROUTES = {}


def _routes(service):
    if service not in _ROUTES:
        routes = []
        if service in ("eks", "route53"):
            for name, operation in iam_actions._load_botocore_model(service)["operations"].items():
                uri = operation["http"]["requestUri"].split("?")[0].rstrip("/")
                pattern = re.sub(r"\\{(\w+)(\\\+)?\\}", r"(?P<\1>.+?)", re.escape(uri))
                routes.append((uri.count("{"), operation["http"]["method"], re.compile(pattern), name))
            # The most literal one first: a label may hold slashes (an ARN).
            routes.sort(key=lambda route: (-(route[2].pattern.count("/")), route[0]))
        _ROUTES[service] = [route[1:] for route in routes]
    return _ROUTES[service]


def _structured(body):
    """The parameters of a JSON or XML body."""
    try:
        if body[:1] == b"{":
            return json.loads(body)
        if body[:1] == b"<":
            value = _of_xml(ElementTree.fromstring(body))
            return value if isinstance(value, dict) else {}
    except (ValueError, ElementTree.ParseError):
        pass
    return {}


def _of_xml(element):
    children = list(element)
    if not children:
        return element.text or ""
    value = {}
    for child in children:
        name = child.tag.rpartition("}")[2]
        one = _of_xml(child)
        if name in value:
            value[name] = [*value[name], one] if isinstance(value[name], list) else [value[name], one]
        else:
            value[name] = one
    return value


class Rule:
    """Which calls it is for (service, action, match, userAgent; skip, times, every), and what happens to them.

    With per_second, as many calls a second are let through, and it is for those beyond; every is a probability, and
    the values of match are globs. With after, the call is performed before its error, drop or hold. A call is held
    until its client goes away, or the rule.
    """

    FILTERS = {"service", "action", "match", "userAgent", "times", "skip", "every", "seed", "per_second"}
    EFFECTS = {"error", "delay_ms", "drop", "hold", "cut", "replace", "stack_seconds", "deny", "propagation_seconds"}

    def __init__(self, spec):
        unknown = set(spec) - self.FILTERS - self.EFFECTS - {"after"}
        if unknown or not self.EFFECTS & set(spec):
            raise ValueError(
                f"a rule is of {sorted(self.FILTERS | {'after'})} and one of {sorted(self.EFFECTS)}: {spec}"
            )
        self.spec = spec
        self.seen = self.hits = self.held = 0
        self.gone = asyncio.Event()
        self.random = random.Random(spec.get("seed", 0))
        self.passed = collections.deque(maxlen=spec.get("per_second"))
        self.replace = [(re.compile(a, re.S), b) for a, b in spec.get("replace", ())]

    def take(self, call):
        """Whether this call is one that it hits; counts."""
        if not self._matches(call):
            return False
        self.seen += 1
        if self.seen <= self.spec.get("skip", 0) or self.hits >= self.spec.get("times", float("inf")):
            return False
        if self.random.random() >= self.spec.get("every", 1):
            return False
        if "per_second" in self.spec and self._passes():
            return False
        self.hits += 1
        return True

    def _passes(self):
        now = time.monotonic()
        if len(self.passed) == self.passed.maxlen and now - self.passed[0] < 1:
            return False
        self.passed.append(now)
        return True

    def _matches(self, call):
        spec = self.spec
        return (
            fnmatch.fnmatchcase(call.service, spec.get("service", "*"))
            and fnmatch.fnmatchcase(call.action or "", spec.get("action", "*"))
            and spec.get("userAgent", "") in call.user_agent
            and all(k in call.params and _alike(str(call.params[k]), str(v)) for k, v in spec.get("match", {}).items())
        )

    def ends(self):
        """Whether it decides how a call ends."""
        return any(self.spec.get(effect) for effect in ("error", "drop", "hold"))

    async def hold(self, receive):
        """Waits until the rule is gone (true) or the client."""
        self.held += 1
        waits = [asyncio.ensure_future(self.gone.wait()), asyncio.ensure_future(_disconnect(receive))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.held -= 1
        return self.gone.is_set()

    def json(self):
        return self.spec | {"hits": self.hits, "held": self.held}


def _alike(value, wanted):
    return value == wanted or fnmatch.fnmatchcase(value, wanted)


RULES = []


def clear_rules():
    for rule in RULES:
        rule.gone.set()
    RULES.clear()


def denied(action):
    """Whether a rule denies this IAM action (`iam:CreateRole`) to the current call."""
    call = CURRENT.get()
    for rule in RULES:
        if (
            "deny" in rule.spec
            and fnmatch.fnmatchcase(action.lower(), rule.spec["deny"].lower())
            and call
            and rule.take(call)
        ):
            call.fault = "deny"
            return True
    return False


def propagation_seconds():
    """For how long new roles are unknown to STS."""
    call = CURRENT.get()
    return max(
        (r.spec["propagation_seconds"] for r in RULES if "propagation_seconds" in r.spec and r.take(call)), default=0
    )


def _slow_stacks():
    call = CURRENT.get()
    return call.slow_stacks if call else []


def stack_seconds():
    """How long the stack operation of the current call takes."""
    return max((rule.spec["stack_seconds"] for rule in _slow_stacks()), default=0)


async def stack_takes():
    """Waits as long as the stack operation of the current call takes: less where its rules go before."""
    waits = [asyncio.wait_for(rule.gone.wait(), rule.spec["stack_seconds"]) for rule in _slow_stacks()]
    await asyncio.gather(*waits, return_exceptions=True)


class Gateway:
    """The ASGI application: ours below /_sandbox, ministack's own below /_ministack, AWS calls."""

    def __init__(self, control):
        self.control = control
        self.calls = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http" or scope["path"].startswith("/_ministack/"):
            await ministack.app(scope, receive, send)
        elif scope["path"].startswith("/_sandbox/"):
            await self._control(scope, await _body(receive), send)
        else:
            await self._call(scope, receive, await _body(receive), send)

    async def _control(self, scope, body, send):
        method, path = scope["method"], scope["path"].removeprefix("/_sandbox/")
        query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
        try:
            answer = self._answer(method, path, query, json.loads(body) if body else None)
            if answer is None:
                answer = await self.control(method, path, json.loads(body) if body else {})
            status = 200
            if path == "seed":
                self.calls.clear()
                clear_rules()
        except (ValueError, KeyError, TypeError, OSError, re.error) as error:
            status, answer = 400, {"error": f"{type(error).__name__}: {error}"}
        await _send(send, status, [(b"content-type", b"application/json")], json.dumps(answer).encode())

    def _answer(self, method, path, query, value):
        if (method, path) == ("GET", "calls"):
            calls = [call.json(n) for n, call in enumerate(self.calls, 1)]
            return [
                call
                for call in calls
                if query.get("userAgent", "") in call["userAgent"]
                and query.get("service", call["service"]) == call["service"]
                and query.get("action", call["action"]) == call["action"]
            ]
        if (method, path) == ("DELETE", "calls"):
            self.calls.clear()
            return {}
        if (method, path) == ("GET", "faults"):
            return [rule.json() for rule in RULES]
        if (method, path) == ("POST", "faults"):
            RULES.extend([Rule(spec) for spec in (value if isinstance(value, list) else [value])])
            return {"rules": len(RULES)}
        if (method, path) == ("DELETE", "faults"):
            clear_rules()
            return {}
        return None

    async def _call(self, scope, receive, body, send):
        call = Call(scope, body)
        self.calls.append(call)
        CURRENT.set(call)
        rules = [
            r for r in RULES if not {"deny", "propagation_seconds", "stack_seconds"} & set(r.spec) and r.take(call)
        ]
        if call.service == "cloudformation" and call.action in _STACK_ACTIONS:
            call.slow_stacks = [r for r in RULES if "stack_seconds" in r.spec and r.take(call)]
        call.fault = ", ".join(effect for rule in rules for effect in rule.spec if effect in Rule.EFFECTS) or None

        await asyncio.sleep(sum(rule.spec.get("delay_ms", 0) for rule in rules) / 1000)
        stop = next((rule for rule in rules if rule.ends()), None)
        reply = None
        if stop is None or stop.spec.get("after"):
            reply = await _perform(scope, body)
        dropped = stop is not None and stop.spec.get("drop")
        if stop is not None and stop.spec.get("hold"):
            dropped = not await stop.hold(receive)
            if not dropped and reply is None:
                reply = await _perform(scope, body)
        if dropped:
            call.end, call.status, call.code = time.time(), 0, "Dropped"
            scope["extensions"]["sandbox.drop"] = {}
            return
        if stop is not None and "error" in stop.spec:
            reply = error_reply(call.service, **stop.spec["error"])
        status, headers, answer = reply
        for rule in rules:
            for pattern, replacement in rule.replace:
                answer = pattern.sub(replacement, answer.decode()).encode()
        call.answered(status, headers, answer)
        cut = any(rule.spec.get("cut") for rule in rules)
        await _send(send, status, headers, b"" if call.method == "HEAD" else answer, cut)


def error_reply(service, status=400, code="InternalFailure", message=""):
    """An error in the service's own wire format."""
    if service in XML_NAMESPACES:
        kind = "Sender" if status < 500 else "Receiver"
        body = (
            f'<ErrorResponse xmlns="{XML_NAMESPACES[service]}"><Error><Type>{kind}</Type><Code>{escape(code)}</Code>'
            f"<Message>{escape(message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
        return status, [(b"content-type", b"text/xml")], body.encode()
    headers = [(b"content-type", b"application/json"), (b"x-amzn-errortype", code.encode())]
    return status, headers, json.dumps({"__type": code, "message": message}).encode()


async def _body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _perform(scope, body):
    """What ministack answers: status, headers, body."""
    status, headers, parts = 500, [], []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], message["headers"]
        else:
            parts.append(message.get("body", b""))

    await ministack.app(scope, receive, send)
    return status, headers, b"".join(parts)


async def _send(send, status, headers, body, cut=False):
    headers = [(n, v) for n, v in headers if n.lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if cut:
        # A body that never ends: the server closes the connection.
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        return
    await send({"type": "http.response.body", "body": body})


async def _disconnect(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive, send):
    # Not ministack's own start: it removes containers of other ministacks, and opens more ports.
    ministack._MAIN_LOOP = asyncio.get_running_loop()
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


_app_send = HTTPStream.app_send


async def _send_or_drop(stream, message):
    """Closes the connection without an answer where a rule says so."""
    if message is None and stream.state == ASGIHTTPState.REQUEST and "sandbox.drop" in stream.scope["extensions"]:
        stream.closed = True
        await stream.send(StreamClosed(stream_id=stream.stream_id))
    else:
        await _app_send(stream, message)


HTTPStream.app_send = _send_or_drop
