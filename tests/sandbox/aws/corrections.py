"""Where ministack differs from AWS, corrected on its own state.

Each correction says what AWS does. The texts of errors are AWS's.
"""

import asyncio
import base64
import contextlib
import contextvars
import copy
import functools
import hashlib
import itertools
import json
import os
import random
import re
import string
import sys
import threading
import time
import uuid
from xml.etree.ElementTree import SubElement
from xml.sax.saxutils import escape

import calls
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region, now_iso
from ministack.services import cloudformation, eks, iam, route53, sts, tagging
from ministack.services.cloudformation import changesets, handlers, helpers, provisioners, stacks

# What /_sandbox/cluster told: name → endpoint, ca, issuer, key (modulus, exponent).
CLUSTERS = {}
# The secret in the URL of the token review webhook.
WEBHOOK = {}


def replaces(module, name):
    """Puts the decorated function in the place of ministack's, wherever it was imported; it gets the original first."""

    def decorate(function):
        original = getattr(module, name)
        ours = functools.partial(function, original)
        for other in list(sys.modules.values()):
            if getattr(other, "__name__", "").startswith("ministack."):
                if vars(other).get(name) is original:
                    setattr(other, name, ours)
        for table in (iam._IAM_HANDLERS, cloudformation._ACTION_HANDLERS, *provisioners._RESOURCE_HANDLERS.values()):
            for key, value in table.items():
                if value is original:
                    table[key] = ours
        return ours

    return decorate


def part(text, tag):
    """The text of an XML element."""
    found = re.search(f"<{tag}>(.*?)</{tag}>", text.decode() if isinstance(text, bytes) else text, re.S)
    return found[1] if found else ""


def unescape(text):
    return (
        text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&#x27;", "'")
        .replace("&amp;", "&")
    )


# Models are read several times otherwise.
iam_actions._load_botocore_model = functools.cache(iam_actions._load_botocore_model)
# A listing of a thousand roles encodes as many documents, and holds up every other call meanwhile.
iam._url_quote = functools.lru_cache(8192)(iam._url_quote)


# === Parameters: refused where AWS's own model of the API says so ===


@functools.cache
def _pattern(text):
    text = re.sub(r"\\u\{(\w+)\}", lambda m: rf"\U{m[1]:0>8}", text)
    flags = re.ASCII if r"\w" in text and r"\p" not in text else 0
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{M}", "")):
        text = text.replace(java, python)
    try:
        return re.compile(text, flags)
    except re.error:
        return re.compile(".*", re.S)


def parameter_error(service, action, params):
    """AWS's words for the parameters that break a constraint of the model, or None."""
    model = iam_actions._load_botocore_model(service)
    operation = model["operations"].get(action)
    if not operation or "input" not in operation:
        return None
    problems = []
    _check(model, operation["input"]["shape"], params, "", "", problems)
    if not problems:
        return None
    plural = "s" if len(problems) > 1 else ""
    return f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}"


def _check(model, name, params, wire, path, problems):
    shape = model["shapes"][name]
    kind = shape["type"]
    if kind == "structure":
        for member, ref in shape["members"].items():
            inner = f"{path}.{member[0].lower()}{member[1:]}".lstrip(".")
            key = f"{wire}.{member}".lstrip(".")
            if not any(k == key or k.startswith(key + ".") for k in params):
                if member in shape.get("required", ()):
                    problems.append(f"Value null at '{inner}' failed to satisfy constraint: Member must not be null")
            else:
                _check(model, ref["shape"], params, key, inner, problems)
    elif kind == "list":
        count = 0
        while any(k == f"{wire}.member.{count + 1}" or k.startswith(f"{wire}.member.{count + 1}.") for k in params):
            count += 1
            _check(
                model, shape["member"]["shape"], params, f"{wire}.member.{count}", f"{path}.{count}.member", problems
            )
        if count > shape.get("max", count):
            problems.append(
                f"Value at '{path}' failed to satisfy constraint: "
                f"Member must have length less than or equal to {shape['max']}"
            )
    elif kind in ("string", "integer"):
        _check_value(shape, kind, str(iam._p(params, wire)), path, problems)


def _check_value(shape, kind, value, path, problems):
    size, noun = (
        (int(value) if value.lstrip("-").isdigit() else 0, "value") if kind == "integer" else (len(value), "length")
    )
    broken = []
    if "min" in shape and size < shape["min"]:
        broken.append(f"Member must have {noun} greater than or equal to {shape['min']}")
    if "max" in shape and size > shape["max"]:
        broken.append(f"Member must have {noun} less than or equal to {shape['max']}")
    if "pattern" in shape and not _pattern(shape["pattern"]).fullmatch(value):
        broken.append(f"Member must satisfy regular expression pattern: {shape['pattern']}")
    if "enum" in shape and value not in shape["enum"]:
        broken.append(f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]")
    problems += [f"Value '{value}' at '{path}' failed to satisfy constraint: {text}" for text in broken]


# === Authorization ===


# No key but the configured root key (and, here, account numbers) is root.
@replaces(iam_evaluator, "is_root_access_key")
def is_root_access_key(_original, key):
    return not key or key == os.environ["AWS_ACCESS_KEY_ID"] or bool(re.fullmatch(r"\d{12}", key))


# Policies name IAM resources with their paths, and EKS and Route53 resources by their own ARNs.
@replaces(iam_actions, "extract_resource_arn")
def resource_arn(original, service, method, path, headers, body, params, region, account):
    get = functools.partial(iam_actions._query_param, params)
    if service == "iam":
        return iam_resource(get("Action"), get, account)
    if service == "cloudformation" and not get("StackName") and get("ChangeSetName").startswith("arn:"):
        return f"arn:aws:cloudformation:{region}:{account}:stack/*/*"
    if service == "route53":
        found = re.search(r"/(hostedzone|change|healthcheck)/([^/]+)", path)
        if found:
            return f"arn:aws:route53:::{found[1]}/{found[2]}"
        ids = re.findall(rb"<ResourceId>([^<]+)<", body) if path.endswith("/tags/hostedzone") else ()
        return f"arn:aws:route53:::hostedzone/{ids[0].decode()}" if ids else "*"
    if service == "eks":
        arn = f"arn:aws:eks:{region}:{account}"
        if path.startswith("/tags/"):
            return path.removeprefix("/tags/")
        if path == "/clusters":
            return (
                original(service, method, path, headers, body, params, region, account) if body else f"{arn}:cluster/*"
            )
        if found := re.fullmatch(r"/clusters/([^/]+)/pod-identity-associations/([^/]+)", path):
            return f"{arn}:podidentityassociation/{found[1]}/{found[2]}"
        if found := re.fullmatch(r"/clusters/([^/]+)/addons/([^/]+)(/update)?", path):
            addon = eks._addons.get(f"{found[1]}/{found[2]}")
            return addon["addonArn"] if addon else f"{arn}:addon/{found[1]}/{found[2]}/*"
        found = re.match(r"/clusters/([^/]+)", path)
        return f"{arn}:cluster/{found[1]}" if found else "*"
    return original(service, method, path, headers, body, params, region, account)


def iam_resource(action, get, account):
    """The ARN that a policy must allow for an IAM call."""
    arn = f"arn:aws:iam::{account}"
    if action in ("ListRoles", "ListUsers", "ListGroups"):
        return f"{arn}:{action[4:-1].lower()}{get('PathPrefix') or '/'}"
    if action == "ListPolicies":
        return f"{arn}:policy{get('PathPrefix') or '/'}"
    if action == "CreatePolicy":
        return f"{arn}:policy{get('Path') or '/'}{get('PolicyName')}"
    if action == "CreateOpenIDConnectProvider":
        return provider_arn(get("Url"), account)
    if action == "ListOpenIDConnectProviders":
        return f"{arn}:oidc-provider/*"
    for param, kind, store in (("RoleName", "role", iam._roles), ("UserName", "user", iam._users)):
        if name := get(param):
            known = store.get_scoped(account, None, name)
            return known["Arn"] if known else f"{arn}:{kind}{get('Path') or '/'}{name}"
    return (
        get("OpenIDConnectProviderArn")
        or get("PolicyArn")
        or get("PolicySourceArn")
        or (get("GroupName") and f"{arn}:group/{get('GroupName')}")
        or "*"
    )


def _condition_keys(action, get):
    """The keys that a call has in conditions, beside those that ministack knows."""
    keys = {}
    service, _, name = action.partition(":")
    if service == "iam":
        role = iam._roles.get(get("RoleName")) or {}
        if name in ("CreateRole", "CreateUser", "PutRolePermissionsBoundary", "PutUserPermissionsBoundary"):
            keys["iam:permissionsboundary"] = get("PermissionsBoundary") or None
        elif name in (
            "AttachRolePolicy",
            "DetachRolePolicy",
            "PutRolePolicy",
            "DeleteRolePolicy",
            "DeleteRolePermissionsBoundary",
        ):
            keys["iam:permissionsboundary"] = role.get("PermissionsBoundary")
        if name in ("AttachRolePolicy", "DetachRolePolicy", "AttachUserPolicy", "DetachUserPolicy"):
            keys["iam:policyarn"] = get("PolicyArn")
    return keys


def _record_keys(body):
    """What a policy can demand of the records of a change batch: names in lower case without the last dot."""
    records = re.findall(rb"<Change>.*?<Action>(.*?)</Action>.*?<Name>(.*?)</Name>.*?<Type>(.*?)</Type>", body, re.S)
    prefix = "route53:changeresourcerecordsets"
    names = {
        re.sub(r"[^a-z0-9._\-\\]", lambda c: f"\\{ord(c[0]):03o}", n.decode().lower().rstrip("."))
        for _, n, _ in records
    }
    return {
        f"{prefix}actions": sorted({a.decode() for a, _, _ in records}),
        f"{prefix}recordtypes": sorted({t.decode() for _, _, t in records}),
        f"{prefix}normalizedrecordnames": sorted(names),
    }


_TAGGING = {
    "iam:CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider",
    "iam:CreatePolicy": "iam:TagPolicy",
    "iam:CreateRole": "iam:TagRole",
    "iam:CreateUser": "iam:TagUser",
}


@replaces(iam_evaluator, "enforce")
def enforce(original, access_key, action, service, region, resource_arn="*", service_context=None):
    call = calls.CURRENT.get()
    context = dict(service_context or {})
    if call is not None:
        call.rights.append(action)
        context |= _condition_keys(action, lambda name: call.params.get(name, ""))
        if action == "route53:ChangeResourceRecordSets":
            context |= _record_keys(call.body)
    result = original(access_key, action, service, region, resource_arn, context)
    if isinstance(result, iam_evaluator.AuthError):
        return result
    if result is None and calls.denied(action):
        principal = iam_evaluator.resolve_principal(access_key or "", get_account_id())
        return iam_evaluator.EvalResult("ImplicitDeny", principal.arn)
    if result is None and action in _TAGGING and call is not None and "Tags.member.1.Key" in call.params:
        # Creating something with tags needs the right to tag, too.
        call.tagging = _TAGGING[action]
        return enforce(access_key, call.tagging, service, region, resource_arn, service_context)
    if result is not None and result.decision == "ImplicitDeny" and action == "sts:AssumeRole":
        # A role that trusts a principal of its own account by name needs no policy of that principal.
        return None if _trusted_by_name(result.principal_arn, resource_arn) else result
    return result


def _trusted_by_name(principal, role_arn):
    role = iam._roles.get(role_arn.rpartition("/")[2])
    if not role or role["Arn"] != role_arn:
        return False
    arns = {principal, eks._role_arn_from_assumed_role(principal)}
    statements = json.loads(role["AssumeRolePolicyDocument"]).get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        named = statement.get("Principal")
        named = named.get("AWS", []) if isinstance(named, dict) else []
        if arns & set([named] if isinstance(named, str) else named):
            return True
    return False


# AccessDenied names the resource; IAM names a policy that is to be created by its name alone.
@replaces(iam_actions, "access_denied_response")
def access_denied(original, service, action, principal, request_id, **details):
    resource, ours = details.get("resource_arn", "*"), service in calls.XML_NAMESPACES or service == "eks"
    action = getattr(calls.CURRENT.get(), "tagging", None) or action
    if ours and not details.get("message") and not details.get("error_code"):
        details["message"] = denial(action, principal, resource, details.get("explicit_deny", False))
    reply = original(service, action, principal, request_id, **details)
    if service == "route53":
        # Route53 wraps its errors as query services do.
        status, _, body = reply
        headers, body = calls.error_reply(service, status, part(body, "Code"), unescape(part(body, "Message")))[1:]
        return status, {n.decode(): v.decode() for n, v in headers}, body
    return reply


def denial(action, principal, resource, explicit=False):
    kind, _, path = resource.partition(":policy")
    if action == "iam:CreatePolicy":
        resource = f"policy {resource.rpartition('/')[2]}"
    elif action == "iam:ListPolicies":
        resource = f"policy path {path}"
    reason = (
        "with an explicit deny in an identity-based policy"
        if explicit
        else (f"because no identity-based policy allows the {action} action")
    )
    where = "" if resource == "*" else f" on resource: {resource}"
    return f"User: {principal} is not authorized to perform: {action}{where} {reason}"


def refusal(principal, action, resource, context=None):
    """Why a principal may not do this, in AWS's words, or None."""
    calls.CURRENT.get().rights.append(action)
    if calls.denied(action):
        return denial(action, principal.arn, resource)
    if principal.policies is None:
        return None
    context = {k.lower(): v for k, v in (context or {}).items()}
    context.setdefault("aws:tagkeys", None)
    if iam_evaluator._names_condition_key(principal.policies, "aws:resourcetag/"):
        for name, value in (tagging.resource_tags(resource) or {}).items():
            context[f"aws:resourcetag/{name}".lower()] = value
    result = iam_evaluator.evaluate(
        iam_evaluator.EvalContext(
            principal_arn=principal.arn,
            principal_type=principal.type,
            principal_account=principal.account,
            action=action,
            resource_arn=resource,
            region=get_region(),
            service_context=context,
            principal_keys=principal.keys,
        ),
        principal.policies,
        *principal.limits,
    )
    return None if result.decision == "Allow" else denial(action, principal.arn, resource, result.decision == "Deny")


def caller():
    """Who made the current call."""
    return iam_evaluator.resolve_principal(calls.CURRENT.get().access_key, get_account_id())


# === IAM ===


@replaces(iam, "_error")
def iam_error(original, status, code, message, ns="iam"):
    """IAM's words for what isn't there; and messages are XML."""
    rules = (
        (r"Role (\S+) not found\.", r"The role with name \1 cannot be found."),
        (r"Policy (arn:\S+) not found\.", r"Policy \1 was not found."),
        (r"Policy (\S+) is not attached to \w+ \S+", r"Policy \1 was not found."),
        (r"OIDC provider (\S+) not found\.", r"OpenIDConnect Provider not found for arn \1"),
        (r"(Cannot delete entity, must delete )all inline (policies first\.)", r"\1\2"),
    )
    for pattern, text in rules:
        message = re.sub(pattern, text, message)
    message = re.sub(r"&(?!#?\w+;)", "&amp;", message).replace("<", "&lt;").replace(">", "&gt;")
    return original(status, code, message, ns)


def iam_ok(action, result=""):
    result = f"<{action}Result>{result}</{action}Result>" if result else ""
    return iam._xml(200, f"{action}Response", result, ns="iam")


def iam_action(name):
    """Adds an action that ministack lacks, or replaces it as a whole."""

    def decorate(function):
        iam._IAM_HANDLERS[name] = function
        return function

    return decorate


# These AWS managed policies exist, others don't.
MANAGED_POLICIES = {
    "AmazonDynamoDBReadOnlyAccess": "dynamodb:BatchGetItem dynamodb:Describe* dynamodb:Get* dynamodb:List* "
    "dynamodb:Query dynamodb:Scan",
    "AmazonElastiCacheFullAccess": "elasticache:*",
    "AmazonEC2ContainerRegistryPowerUser": "ecr:Batch* ecr:CompleteLayerUpload ecr:Describe* ecr:Get* "
    "ecr:InitiateLayerUpload ecr:List* ecr:PutImage ecr:UploadLayerPart",
    "AmazonEC2ContainerRegistryReadOnly": "ecr:Batch* ecr:Describe* ecr:Get* ecr:List*",
    "AmazonRoute53FullAccess": "route53:* route53domains:*",
    "AmazonRoute53ReadOnlyAccess": "route53:Get* route53:List* route53:TestDNSAnswer",
    "AmazonSQSReadOnlyAccess": "sqs:GetQueueAttributes sqs:GetQueueUrl sqs:ListQueues",
    "CloudWatchReadOnlyAccess": "cloudwatch:Describe* cloudwatch:Get* cloudwatch:List* logs:Describe* logs:Get*",
    "service-role/AmazonEBSCSIDriverPolicy": "ec2:AttachVolume ec2:CreateSnapshot ec2:CreateVolume ec2:DeleteVolume "
    "ec2:Describe* ec2:DetachVolume ec2:ModifyVolume",
    "service-role/AmazonEFSCSIDriverPolicy": "elasticfilesystem:CreateAccessPoint "
    "elasticfilesystem:DeleteAccessPoint elasticfilesystem:Describe*",
}


@replaces(iam, "_seed_aws_managed_policies")
def seed_managed_policies(original):
    original()
    for name, actions in MANAGED_POLICIES.items():
        record = iam._make_aws_managed_record(name, json.dumps(policy_document(actions.split())))
        iam._aws_managed_policies[record["Arn"]] = record


def policy_document(actions):
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}


iam._aws_managed_policies.clear()
iam._seed_aws_managed_policies()


# IAM checks the grammar of policies.
@replaces(iam_evaluator, "validate_policy_document")
def identity_policy_error(_original, document):
    statements = _statements(
        document,
        {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal", "NotPrincipal"},
    )
    if statements is None:
        return "Syntax errors in policy."
    for statement in statements:
        if "Principal" in statement or "NotPrincipal" in statement:
            return "Policy document should not specify a principal."
        if "Action" not in statement and "NotAction" not in statement:
            return "Policy statement must contain actions."
        if "Resource" not in statement and "NotResource" not in statement:
            return "Policy statement must contain resources."
        if ("Action" in statement and "NotAction" in statement) or (
            "Resource" in statement and "NotResource" in statement
        ):
            return "Syntax errors in policy."
        for action in _texts(statement.get("Action", statement.get("NotAction"))) or [None]:
            if action is None:
                return "Syntax errors in policy."
            if not re.fullmatch(r"\*|[A-Za-z0-9-]+:[\w*?]+", action):
                return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
        for resource in _texts(statement.get("Resource", statement.get("NotResource"))) or [None]:
            if resource is None:
                return "Syntax errors in policy."
            if not re.fullmatch(r"\*|arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", resource, re.S):
                return f'Resource {resource} must be in ARN format or "*".'
    sids = [s["Sid"] for s in statements if s.get("Sid")]
    if len(sids) != len(set(sids)):
        return "Statement IDs (SID) in a single policy must be unique."
    if not all(re.fullmatch("[0-9A-Za-z]*", sid) for sid in sids):
        return (
            "Statement IDs (SID) must be alpha-numeric. "
            "Check that your input satisfies the regular expression [0-9A-Za-z]*"
        )
    return None


def _texts(value):
    """The strings of a string or a list of strings, or None."""
    value = [value] if isinstance(value, str) else value
    return value if isinstance(value, list) and all(isinstance(v, str) for v in value) else None


def _statements(document, members):
    """The statements of a policy whose structure is right, or None."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return None
    if not isinstance(document, dict) or set(document) - {"Version", "Id", "Statement"}:
        return None
    if document.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
        return None
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        return None
    for statement in statements:
        if (
            not isinstance(statement, dict)
            or set(statement) - members
            or statement.get("Effect") not in ("Allow", "Deny")
        ):
            return None
        condition = statement.get("Condition", {})
        if not isinstance(condition, dict) or not all(isinstance(v, dict) for v in condition.values()):
            return None
        if not all(_known_operator(operator) for operator in condition):
            return None
    return statements


def _known_operator(operator):
    name = re.sub(r"^(forallvalues|foranyvalue):|ifexists$", "", operator.lower())
    return (
        name in iam_evaluator._CONDITION_OPS
        or re.sub("ifexists$", "", name) in iam_evaluator._CONDITION_OPS
        or name == "null"
    )


# A trust policy has principals, no resources, and STS actions only.
@replaces(iam, "_trust_policy_not_principal_error")
def trust_policy_error(original, document):
    text = document if isinstance(document, str) else json.dumps(document)
    try:
        json.loads(text)
    except ValueError:
        return "This policy contains invalid Json"
    if error := original(text):
        return error
    statements = _statements(
        text,
        {"Sid", "Effect", "Action", "NotAction", "Condition", "Principal", "NotPrincipal", "Resource", "NotResource"},
    )
    if statements is None:
        return "Syntax errors in policy."
    for statement in statements:
        if "Resource" in statement or "NotResource" in statement:
            return "Has prohibited field Resource"
        if not statement.get("Principal"):
            return "Missing required field Principal"
        actions = _texts(statement.get("Action", statement.get("NotAction")))
        if not actions:
            return "Missing required field Action"
        if any(a != "*" and not a.lower().startswith("sts:") for a in actions):
            return "AssumeRole policy may only specify STS AssumeRole actions."
        principal = statement["Principal"]
        if principal == "*":
            continue
        if not isinstance(principal, dict) or set(principal) - {"AWS", "Federated", "Service", "CanonicalUser"}:
            return "Syntax errors in policy."
        for arn in _texts(principal.get("AWS", [])) or ():
            # Roles and users of this account that are named must be there.
            found = re.fullmatch(r"arn:aws:iam::(\d{12}):(role|user)/(?:.*/)?([^/]+)", arn)
            store = {"role": iam._roles, "user": iam._users}
            if found and found[1] == get_account_id() and found[3] not in store[found[2]]:
                return f'Invalid principal in policy: "AWS":"{arn}"'
        for arn in _texts(principal.get("Federated", [])) or ():
            if not re.fullmatch(r"arn:[\w-]+:iam::\d{12}:(oidc-provider|saml-provider)/.+|[\w-]+(\.[\w-]+)+", arn):
                return "Federated principals must be valid domain names or SAML metadata ARNs"
    return None


def _letters(document):
    """The size that IAM counts: without whitespace."""
    return len(re.sub(r"\s", "", document))


def _trust_quota(document):
    if _letters(document) > 2048:
        return iam_error_reply(409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")
    return None


def iam_error_reply(status, code, message):
    return iam._error(status, code, message, ns="iam")


def _system_tags(params):
    """Tags that begin with aws: are AWS's own."""
    if any(tag["Key"].lower().startswith("aws:") for tag in iam._extract_tags(params)):
        return iam_error_reply(400, "InvalidInput", "Caller is an end user and not allowed to mutate system tags")
    return None


@replaces(iam, "_create_role")
def create_role(original, params):
    name = iam._p(params, "RoleName")
    if error := _system_tags(params) or _trust_quota(iam._p(params, "AssumeRolePolicyDocument")):
        return error
    # Names differ by more than case.
    lower = name.lower()
    if any(account == get_account_id() and other.lower() == lower for account, other in iam._roles._data):
        return iam_error_reply(409, "EntityAlreadyExists", f"Role with name {name} already exists.")
    reply = original(params)
    if reply[0] == 200:
        iam._roles[name]["_created"] = time.time()
    return reply


@replaces(iam, "_update_assume_role_policy")
def update_assume_role_policy(original, params):
    return _trust_quota(iam._p(params, "PolicyDocument")) or original(params)


@replaces(iam, "_tag_role")
def tag_role(original, params):
    return _system_tags(params) or original(params)


# XML needs its special characters escaped, and an empty description is left out.
@replaces(iam, "_role_xml")
def role_xml(original, name, boundary=True):
    description = iam._roles[name].get("Description") or ""
    element = f"<Description>{escape(description)}</Description>" if description else ""
    return original(name, boundary).replace(f"<Description>{description}</Description>", element, 1)


@replaces(iam, "_managed_policy_xml")
def managed_policy_xml(original, arn, usage_counts=None):
    description = iam._lookup_policy(arn).get("Description") or ""
    xml = original(arn, usage_counts)
    return xml.replace(
        f"<Description>{description}</Description>", f"<Description>{escape(description)}</Description>", 1
    )


# The inline policies of a role have 10,240 characters at most.
@replaces(iam, "_put_role_policy")
def put_role_policy(original, params):
    role = iam._roles.get(iam._p(params, "RoleName"))
    if role is not None:
        documents = role["InlinePolicies"] | {iam._p(params, "PolicyName"): iam._p(params, "PolicyDocument")}
        if sum(map(_letters, documents.values())) > 10240:
            message = f"Maximum policy size of 10240 bytes exceeded for role {role['RoleName']}"
            return iam_error_reply(409, "LimitExceeded", message)
    return original(params)


def _policy_arn_error(arn):
    """What IAM says to an ARN that is none, or to that of a policy which isn't there."""
    if not re.fullmatch(r"arn:[\w-]+:iam::(aws|\d{12}):policy/.+", arn):
        return iam_error_reply(400, "InvalidInput", f"ARN {arn} is not valid.")
    return None


def _attachable(original, params):
    """Policies must exist to be attached; ten at most."""
    arn = iam._p(params, "PolicyArn")
    entity = iam._roles.get(iam._p(params, "RoleName")) or iam._users.get(iam._p(params, "UserName"))
    if error := _policy_arn_error(arn):
        return error
    if entity is not None and not iam._policy_exists(arn):
        return iam_error_reply(404, "NoSuchEntity", f"Policy {arn} does not exist or is not attachable.")
    if entity is not None and arn not in entity["AttachedPolicies"] and len(entity["AttachedPolicies"]) >= 10:
        quota = "PoliciesPerRole" if "RoleName" in entity else "PoliciesPerUser"
        return iam_error_reply(409, "LimitExceeded", f"Cannot exceed quota for {quota}: 10")
    return original(params)


replaces(iam, "_attach_role_policy")(_attachable)
replaces(iam, "_attach_user_policy")(_attachable)


@replaces(iam, "_get_policy")
def get_policy(original, params):
    return _policy_arn_error(iam._p(params, "PolicyArn")) or original(params)


# A policy's name is taken in every path, in upper and lower case; a policy has 6,144 characters at most.
@replaces(iam, "_create_policy")
def create_policy(original, params):
    name = iam._p(params, "PolicyName")
    if any(name.lower() == policy["PolicyName"].lower() for policy in iam._policies.values()):
        message = f"A policy called {name} already exists. Duplicate names are not allowed."
        return iam_error_reply(409, "EntityAlreadyExists", message)
    return _policy_quota(params) or original(params)


def _policy_quota(params):
    if _letters(iam._p(params, "PolicyDocument")) > 6144:
        return iam_error_reply(409, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144")
    return None


# Version numbers are never used again.
@replaces(iam, "_create_policy_version")
def create_policy_version(original, params):
    policy = iam._policies.get(iam._p(params, "PolicyArn"))
    if policy is None:
        return _no_policy(params)
    if len(policy["Versions"]) >= 5:
        message = (
            "A managed policy can have up to 5 versions. Before you create a new version, "
            "you must delete an existing version."
        )
        return iam_error_reply(409, "LimitExceeded", message)
    if error := _policy_quota(params):
        return error
    highest = max(policy.get("_highest", 1), *(int(v[1:]) for v in policy["Versions"]))
    reply = original(params)
    if reply[0] != 200:
        return reply
    given, version = part(reply[2], "VersionId"), f"v{highest + 1}"
    policy["_highest"] = highest + 1
    policy["Versions"][version] = policy["Versions"].pop(given) | {"VersionId": version}
    if policy["DefaultVersionId"] == given:
        policy["DefaultVersionId"] = version
    return reply[0], reply[1], reply[2].replace(f">{given}<".encode(), f">{version}<".encode())


def _no_policy(params):
    arn = iam._p(params, "PolicyArn")
    return _policy_arn_error(arn) or iam_error_reply(404, "NoSuchEntity", f"Policy {arn} was not found.")


def _with_policy(original, params):
    return original(params) if iam._lookup_policy(iam._p(params, "PolicyArn")) else _no_policy(params)


replaces(iam, "_list_policy_versions")(_with_policy)


@replaces(iam, "_get_policy_version")
def get_policy_version(original, params):
    return _no_version(params) or original(params)


@replaces(iam, "_delete_policy_version")
def delete_policy_version(original, params):
    return _no_version(params) or original(params)


def _no_version(params):
    policy = iam._lookup_policy(iam._p(params, "PolicyArn"))
    if not policy:
        return _no_policy(params)
    version = iam._p(params, "VersionId")
    if version not in policy["Versions"]:
        message = f"Policy {policy['Arn']} version {version} does not exist or is not attachable."
        return iam_error_reply(404, "NoSuchEntity", message)
    return None


@iam_action("SetDefaultPolicyVersion")
def set_default_policy_version(params):
    if error := _no_version(params):
        return error
    policy = iam._lookup_policy(iam._p(params, "PolicyArn"))
    policy["DefaultVersionId"] = iam._p(params, "VersionId")
    policy["UpdateDate"] = iam._now()
    for version in policy["Versions"].values():
        version["IsDefaultVersion"] = version["VersionId"] == policy["DefaultVersionId"]
    return iam_ok("SetDefaultPolicyVersion")


# A policy goes only after its versions.
@replaces(iam, "_delete_policy")
def delete_policy(original, params):
    arn = iam._p(params, "PolicyArn")
    policy = iam._policies.get(arn)
    if policy is None:
        return original(params) if iam._is_aws_managed_arn(arn) else _no_policy(params)
    reply = original(params) if len(policy["Versions"]) == 1 or policy["AttachmentCount"] else None
    if reply is None:
        message = (
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy."
        )
        return iam_error_reply(409, "DeleteConflict", message)
    return reply


# Lists have pages: 100 entries unless MaxItems says otherwise.
def _page(params, items, key):
    """The entries after Marker, and the XML that says whether there are more."""
    marker = iam._p(params, "Marker")
    size = int(iam._p(params, "MaxItems") or 100)
    if marker:
        after = base64.urlsafe_b64decode(marker.encode() + b"==").decode(errors="replace")
        items = [item for item in items if key(item) > after]
    page = items[:size]
    if len(items) <= size:
        return page, "<IsTruncated>false</IsTruncated>"
    last = base64.urlsafe_b64encode(key(page[-1]).encode()).decode()
    return page, f"<IsTruncated>true</IsTruncated><Marker>{last}</Marker>"


# Lists of roles and policies leave out tags, boundaries and the descriptions of policies.
@iam_action("ListRoles")
def list_roles(params):
    prefix = iam._p(params, "PathPrefix") or "/"
    names = sorted(name for name, role in iam._roles.items() if role["Path"].startswith(prefix))
    page, more = _page(params, names, str)
    members = "".join(f"<member>{_without('Tags', iam._role_xml(name, boundary=False))}</member>" for name in page)
    return iam_ok("ListRoles", f"<Roles>{members}</Roles>{more}")


# The details of roles tell their boundaries, and have pages, of which each is made alone.
@iam_action("GetAccountAuthorizationDetails")
def account_authorization_details(params):
    every = iam._roles
    page, more = _page(params, sorted(every), str)
    iam._roles = {name: every[name] for name in page}
    try:
        reply = iam._get_account_authorization_details(params)
    finally:
        iam._roles = every
    kinds = ("UserDetailList", "GroupDetailList", "Policies")
    others = "".join(f"<{kind}>{part(reply[2], kind)}</{kind}>" for kind in kinds)
    roles = re.findall(r"<member><RoleName>.*?</Tags></member>", part(reply[2], "RoleDetailList"), re.S)
    members = "".join(_with_boundary(part(xml, "RoleName"), xml) for xml in roles)
    return iam_ok("GetAccountAuthorizationDetails", f"{others}<RoleDetailList>{members}</RoleDetailList>{more}")


def _with_boundary(name, xml):
    arn = iam._roles[name].get("PermissionsBoundary")
    if not arn:
        return xml
    arn = arn.get("PermissionsBoundaryArn") if isinstance(arn, dict) else arn
    kind = "<PermissionsBoundaryType>Policy</PermissionsBoundaryType>"
    boundary = f"{kind}<PermissionsBoundaryArn>{arn}</PermissionsBoundaryArn>"
    return f"{xml.removesuffix('</member>')}<PermissionsBoundary>{boundary}</PermissionsBoundary></member>"


def _without(tag, xml):
    return re.sub(f"<{tag}>.*?</{tag}>", "", xml, flags=re.S)


@iam_action("ListPolicies")
def list_policies(params):
    scope, prefix = iam._p(params, "Scope") or "All", iam._p(params, "PathPrefix") or "/"
    attached = iam._p(params, "OnlyAttached") == "true"
    usage = iam._p(params, "PolicyUsageFilter")
    bounds = iam._boundary_usage_counts()
    records = [] if scope == "AWS" else list(iam._policies.values())
    records += [] if scope == "Local" else list(iam._aws_managed_policies.values())

    def wanted(record):
        arn = record["Arn"]
        permissions = record["AttachmentCount"] or iam._aws_managed_attachment_counts.get(arn, 0)
        counts = {"PermissionsPolicy": permissions, "PermissionsBoundary": bounds.get(arn, 0)}
        count = counts.get(usage, sum(counts.values()))
        return record["Path"].startswith(prefix) and (count or not (attached or usage))

    arns = sorted(record["Arn"] for record in records if wanted(record))
    page, more = _page(params, arns, str)
    members = "".join(
        f"<member>{_without('Description', _without('Tags', iam._managed_policy_xml(arn, bounds)))}</member>"
        for arn in page
    )
    return iam_ok("ListPolicies", f"<Policies>{members}</Policies>{more}")


@replaces(iam, "_list_entities_for_policy")
def list_entities_for_policy(original, params):
    reply = original(params)
    if reply[0] != 200:
        return reply
    kinds = ("PolicyGroups", "PolicyRoles", "PolicyUsers")
    entities = [(f"{kind}/{xml}", kind, xml) for kind in kinds for xml in sorted(_members(part(reply[2], kind)))]
    page, more = _page(params, entities, lambda entity: entity[0])
    lists = "".join(f"<{k}>{''.join(xml for _, kind, xml in page if kind == k)}</{k}>" for k in kinds)
    return iam_ok("ListEntitiesForPolicy", lists + more)


def _members(xml):
    """The elements of a list whose members hold no lists."""
    return re.findall("<member>.*?</member>", xml, re.S)


# The policy simulator judges every resource that is named, and by the permissions boundary, too. It answers with one
# result for an action, and where resources are named, what holds for each of them is told inside it.
@iam_action("SimulatePrincipalPolicy")
def simulate_principal_policy(params):
    arn = iam._p(params, "PolicySourceArn")
    kind, name = arn.split(":")[-1].split("/")[0], arn.rpartition("/")[2]
    store = {"user": iam._users, "role": iam._roles}.get(kind, {})
    if (store.get(name) or {}).get("Arn") != arn:
        return iam_error_reply(404, "NoSuchEntity", f"The {kind} with name {name} cannot be found.")
    account = get_account_id()
    gather = iam_evaluator._gather_user_policies if kind == "user" else iam_evaluator._gather_role_policies
    layers = (gather(name, account), *iam_evaluator._permissions_boundary(store, name, account))
    resources = _numbered(params, "ResourceArns")
    given = {}
    for n in itertools.takewhile(
        lambda n: iam._p(params, f"ContextEntries.member.{n}.ContextKeyName"), itertools.count(1)
    ):
        values = _numbered(params, f"ContextEntries.member.{n}.ContextKeyValues")
        given[iam._p(params, f"ContextEntries.member.{n}.ContextKeyName").lower()] = (
            values if len(values) > 1 else "".join(values)
        )
    results = ""
    for action in _numbered(params, "ActionNames"):
        members = [_simulated(arn, action, resource, layers, given) for resource in resources or ["*"]]
        worst = max(members, key=lambda member: ("allowed", "implicitDeny", "explicitDeny").index(member[1]))
        results += f"<member><EvalActionName>{action}</EvalActionName><EvalDecision>{worst[1]}</EvalDecision>"
        if resources:
            specific = "".join(
                f"<member><EvalResourceName>{resource}</EvalResourceName>"
                f"<EvalResourceDecision>{decision}</EvalResourceDecision>{more}</member>"
                for resource, decision, more in members
            )
            results += f"<ResourceSpecificResults>{specific}</ResourceSpecificResults></member>"
        else:
            results += f"<EvalResourceName>*</EvalResourceName>{worst[2]}</member>"
    results = f"<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>"
    return iam_ok("SimulatePrincipalPolicy", results)


def _numbered(params, name):
    return list(itertools.takewhile(bool, (iam._p(params, f"{name}.member.{n}") for n in itertools.count(1))))


def _simulated(principal, action, resource, layers, given):
    """The resource, the decision on it, and what is said beside."""
    context = iam_evaluator.EvalContext(
        principal_arn=principal,
        principal_type="User" if ":user/" in principal else "AssumedRole",
        principal_account=get_account_id(),
        action=action,
        resource_arn=resource,
        region=get_region(),
        service_context=given,
    )
    words = {"Allow": "allowed", "Deny": "explicitDeny", "ImplicitDeny": "implicitDeny"}
    decision = words[iam_evaluator.evaluate(context, *layers).decision]
    statements = [statement for layer in layers for policy in layer for statement in policy]
    keys = {key for statement in statements for clause in statement.conditions.values() for key in clause}
    missing = sorted(key for key in keys if iam_evaluator._resolve_condition_key(key, context) is None)
    more = f"<MissingContextValues>{''.join(f'<member>{key}</member>' for key in missing)}</MissingContextValues>"
    if layers[1:]:
        allowed = str(iam_evaluator.evaluate(context, layers[1]).decision == "Allow").lower()
        detail = f"<AllowedByPermissionsBoundary>{allowed}</AllowedByPermissionsBoundary>"
        more += f"<PermissionsBoundaryDecisionDetail>{detail}</PermissionsBoundaryDecisionDetail>"
    return resource, decision, more


def _paged(action, tag):
    handler = iam._IAM_HANDLERS[action]

    @iam_action(action)
    def paged(params):
        reply = handler(params)
        if reply[0] != 200:
            return reply
        numbered = [(f"{n:06}", xml) for n, xml in enumerate(_members(part(reply[2], tag)))]
        page, more = _page(params, numbered, lambda item: item[0])
        return iam_ok(action, f"<{tag}>{''.join(xml for _, xml in page)}</{tag}>{more}")


# === IAM OIDC providers ===


def provider_arn(url, account):
    """The ARN has the URL without scheme and port."""
    host, slash, path = url.removeprefix("https://").rstrip("/").partition("/")
    return f"arn:aws:iam::{account}:oidc-provider/{host.partition(':')[0]}{slash}{path}"


@replaces(iam, "_create_oidc_provider")
def create_oidc_provider(original, params):
    url = iam._p(params, "Url")
    if not re.fullmatch(r"https://[\w.-]+(:\d+)?(/\S*)?", url):
        return iam_error_reply(400, "InvalidInput", "Invalid Open ID Connect Provider URL")
    if error := _system_tags(params):
        return error
    arn = provider_arn(url, get_account_id())
    if arn in iam._oidc_providers:
        return iam_error_reply(409, "EntityAlreadyExists", f"Provider with url {url} already exists.")
    bare = "https://" + arn.partition("oidc-provider/")[2]
    reply = original(params | {"Url": [bare]})
    if reply[0] == 200:
        # IAM finds the thumbprint itself where none is given.
        provider = iam._oidc_providers[arn]
        provider["ThumbprintList"] = provider["ThumbprintList"] or ["9e99a48a9960b14926bb7f3b02e22da2b0ab7280"]
    return reply


# The URL is shown without its scheme.
@replaces(iam, "_get_oidc_provider")
def get_oidc_provider(original, params):
    status, headers, body = original(params)
    return status, headers, body.replace(b"<Url>https://", b"<Url>")


# Deleting a provider that isn't there is no error.
@replaces(iam, "_delete_oidc_provider")
def delete_oidc_provider(_original, params):
    iam._oidc_providers.pop(iam._p(params, "OpenIDConnectProviderArn"), None)
    return iam_ok("DeleteOpenIDConnectProvider")


def provider_action(name):
    """An action on a provider that must be there."""

    def decorate(function):
        @iam_action(name)
        def handler(params):
            arn = iam._p(params, "OpenIDConnectProviderArn")
            provider = iam._oidc_providers.get(arn)
            if provider is None:
                return iam_error_reply(404, "NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}")
            answer = function(params, provider)
            return answer if isinstance(answer, tuple) else iam_ok(name, answer or "")

        return handler

    return decorate


@provider_action("AddClientIDToOpenIDConnectProvider")
def add_client_id(params, provider):
    client = iam._p(params, "ClientID")
    if client not in provider["ClientIDList"]:
        provider["ClientIDList"].append(client)


@provider_action("RemoveClientIDFromOpenIDConnectProvider")
def remove_client_id(params, provider):
    with contextlib.suppress(ValueError):
        provider["ClientIDList"].remove(iam._p(params, "ClientID"))


@provider_action("UpdateOpenIDConnectProviderThumbprint")
def update_thumbprint(params, provider):
    provider["ThumbprintList"] = helpers._extract_string_members(params, "ThumbprintList")


@provider_action("TagOpenIDConnectProvider")
def tag_provider(params, provider):
    if error := _system_tags(params):
        return error
    tags = {tag["Key"]: tag for tag in provider["Tags"] + iam._extract_tags(params)}
    provider["Tags"] = list(tags.values())


@provider_action("UntagOpenIDConnectProvider")
def untag_provider(params, provider):
    gone = iam._extract_tag_keys(params)
    provider["Tags"] = [tag for tag in provider["Tags"] if tag["Key"] not in gone]


@provider_action("ListOpenIDConnectProviderTags")
def list_provider_tags(_params, provider):
    members = "".join(f"<member><Key>{t['Key']}</Key><Value>{t['Value']}</Value></member>" for t in provider["Tags"])
    return f"<Tags>{members}</Tags><IsTruncated>false</IsTruncated>"


for _action, _tag in (
    ("ListAttachedRolePolicies", "AttachedPolicies"),
    ("ListAttachedUserPolicies", "AttachedPolicies"),
    ("ListOpenIDConnectProviderTags", "Tags"),
    ("ListPolicyTags", "Tags"),
    ("ListPolicyVersions", "Versions"),
    ("ListRolePolicies", "PolicyNames"),
    ("ListRoleTags", "Tags"),
):
    _paged(_action, _tag)


def _checked(action, handler):
    """The handler behind the checks of its parameters."""

    def checked(params):
        if problem := parameter_error("iam", action, params):
            return iam_error_reply(400, "ValidationError", problem)
        return handler(params)

    return checked


for _action, _handler in list(iam._IAM_HANDLERS.items()):
    iam._IAM_HANDLERS[_action] = _checked(_action, _handler)


# === STS ===

_CLAIMS = contextvars.ContextVar("claims", default=None)


class Refused(Exception):
    def __init__(self, status, code, message):
        self.status, self.code, self.message = status, code, message


# A web identity token counts only with a provider in the account, its signature, its time, an audience of the
# provider, and the role's trust policy.
@replaces(sts, "_web_identity_trust_denied")
def web_identity_denied(_original, role_arn, params, _use_json):
    try:
        _CLAIMS.set(_web_identity(role_arn, iam._p(params, "WebIdentityToken")))
    except Refused as refused:
        return sts._error(refused.status, refused.code, refused.message, ns="sts")
    return None


def _web_identity(role_arn, token):
    account = role_arn.split(":")[4]
    header, claims, signed, signature = _decode(token)
    issuer = claims["iss"]
    arn = provider_arn(issuer, account)
    provider = iam._oidc_providers.get_scoped(account, None, arn)
    if provider is None:
        raise Refused(400, "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}")
    key = next((cluster["key"] for cluster in CLUSTERS.values() if cluster["issuer"] == issuer), None)
    if key is None or header.get("alg") != "RS256" or not _signed_with(key, signed, signature):
        raise Refused(
            400,
            "InvalidIdentityToken",
            "Couldn't retrieve verification key from your identity provider,  "
            "please reference AssumeRoleWithWebIdentity documentation for requirements",
        )
    now = int(time.time())
    if now >= claims["exp"]:
        message = f"Token expired: current date/time {now} must be before the expiration date/time {int(claims['exp'])}"
        raise Refused(400, "ExpiredTokenException", message)
    audiences = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    audience = next((a for a in audiences if a in provider["ClientIDList"]), None)
    if audience is None:
        raise Refused(400, "InvalidIdentityToken", "Incorrect token audience")
    if not _trusted(role_arn, account, arn, audience, claims):
        raise Refused(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    return claims | {"aud": audience, "provider": arn}


def _decode(token):
    try:
        signed, _, signature = token.rpartition(".")
        parts = [base64.urlsafe_b64decode(p + "==") for p in (*signed.split("."), signature)]
        header, claims = json.loads(parts[0]), json.loads(parts[1])
        return header, claims | {k: claims[k] for k in ("iss", "aud", "sub", "exp")}, signed.encode(), parts[2]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        message = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        raise Refused(400, "InvalidIdentityToken", message) from None


def _trusted(role_arn, account, provider, audience, claims):
    role = iam._roles.get_scoped(account, None, role_arn.rpartition("/")[2])
    if role is None or role["Arn"] != role_arn:
        return False
    if time.time() - role.get("_created", 0) < calls.propagation_seconds():
        return False
    host = provider.partition("oidc-provider/")[2]
    context = iam_evaluator.EvalContext(
        principal_arn=provider,
        principal_type="WebIdentityUser",
        principal_account=account,
        action="sts:AssumeRoleWithWebIdentity",
        resource_arn=role_arn,
        region=get_region(),
        service_context={f"{host}:aud".lower(): audience, f"{host}:sub".lower(): claims["sub"]},
    )
    return iam_evaluator.evaluate_trust_policy(role["AssumeRolePolicyDocument"], provider, context)


def public_key(pem):
    """Modulus and exponent of an RSA key in PEM, which has them as the last two integers."""
    data = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
    integers = _integers(data)
    if len(integers) < 2:
        raise ValueError("no RSA public key")
    return integers[-2], integers[-1]


def _integers(data):
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        value, at = data[at : at + length], at + length
        if tag == 0x30:
            found += _integers(value)
        elif tag == 0x03:
            found += _integers(value[1:])
        elif tag == 0x02:
            found.append(int.from_bytes(value, "big"))
    return found


def _signed_with(key, signed, signature):
    """RSASSA-PKCS1-v1_5 with SHA-256."""
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(signed).digest()
    expected = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    return pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big") == expected


@replaces(sts, "handle_request")
async def sts_request(original, method, path, headers, body, query):
    call = calls.CURRENT.get()
    params = call.params if call else {}
    problem = parameter_error("sts", call.action, params) if call else None
    if problem:
        return sts._error(400, "ValidationError", problem, ns="sts")
    role_arn = params.get("RoleArn", "")
    role = iam._roles.get(role_arn.rpartition("/")[2])
    if role and int(params.get("DurationSeconds", 0)) > role["MaxSessionDuration"]:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        return sts._error(400, "ValidationError", message, ns="sts")
    status, headers, body = await original(method, path, headers, body, query)
    if status == 403 and b"User: is not authorized" in body:
        # A role that isn't there is refused as one that does not trust the caller.
        body = body.replace(b"User: is", f"User: {iam_evaluator.caller_arn()} is".encode())
    if status == 200 and (claims := _CLAIMS.get()):
        for tag, value in (
            ("SubjectFromWebIdentityToken", claims["sub"]),
            ("Audience", claims["aud"]),
            ("Provider", claims["provider"]),
        ):
            body = re.sub(f"<{tag}>[^<]*<".encode(), lambda _, t=tag, v=value: f"<{t}>{escape(v)}<".encode(), body)
    return status, headers, body


# === CloudFormation: with whose rights ===

# The stack that is being worked on: whose rights, and what a failed resource left behind.
_WORK = contextvars.ContextVar("stack work", default=None)


class Work:
    def __init__(self, stack):
        self.role = stack.get("_role_arn")
        self.leftovers = {}

    def principal(self):
        if self.role:
            return _role_principal(self.role)
        return caller()


def _role_principal(arn):
    """CloudFormation as the role that a stack names in RoleARN."""
    name = arn.rpartition("/")[2]
    return iam_evaluator.PrincipalInfo(
        arn=f"arn:aws:sts::{get_account_id()}:assumed-role/{name}/AWSCloudFormation",
        type="AssumedRole",
        account=get_account_id(),
        policies=iam_evaluator._gather_role_policies(name, get_account_id()),
        limits=iam_evaluator._permissions_boundary(iam._roles, name, get_account_id()),
    )


_HANDLER_CODES = {
    "AccessDenied": "AccessDenied",
    "EntityAlreadyExists": "AlreadyExists",
    "LimitExceeded": "ServiceLimitExceeded",
    "NoSuchEntity": "NotFound",
}


def handler_error(status, code, message):
    """A failure as the events of a stack word it."""
    handler = _HANDLER_CODES.get(code, "InvalidRequest")
    error = ValueError(
        f'Resource handler returned message: "{helpers._sdk_error(message, "Iam", status)}" '
        f"(RequestToken: {uuid.uuid4()}, HandlerErrorCode: {handler})"
    )
    error.code = code
    return error


def _tag_keys(tags, keys=()):
    context = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tags}
    return context | ({"aws:TagKeys": [tag["Key"] for tag in tags] + list(keys)} if tags or keys else {})


def authorize(action, get, context=None):
    """CloudFormation acts with the rights of its caller, or of RoleARN."""
    work = _WORK.get()
    if work is None:
        return
    context = {"aws:calledvia": ["cloudformation.amazonaws.com"], "aws:viaawsservice": "true"} | (context or {})
    context |= _condition_keys(f"iam:{action}", get)
    resource = iam_resource(action, get, get_account_id())
    principal = work.principal()
    if isinstance(principal, iam_evaluator.AuthError):
        raise handler_error(403, principal.code, principal.message)
    if reason := refusal(principal, f"iam:{action}", resource, context):
        raise handler_error(403, "AccessDenied", reason)


def step(action, tags=(), keys=(), **params):
    """One IAM call that CloudFormation makes for a resource."""
    params = {name: str(value) for name, value in params.items() if value not in (None, "")}
    authorize(action, lambda name: params.get(name, ""), _tag_keys(tags, keys))
    if action == "CreateRole" and tags:
        authorize("TagRole", lambda name: params.get(name, ""), _tag_keys(tags))
    for n, tag in enumerate(tags, 1):
        params |= {f"Tags.member.{n}.Key": tag["Key"], f"Tags.member.{n}.Value": str(tag["Value"])}
    for n, key in enumerate(keys, 1):
        params[f"TagKeys.member.{n}"] = key
    status, _, body = iam._IAM_HANDLERS[action](params)
    if status >= 400:
        raise handler_error(status, part(body, "Code"), unescape(part(body, "Message")))


# === CloudFormation: resources of IAM, made by the IAM calls that CloudFormation makes ===


def _json(document):
    return document if isinstance(document, str) else json.dumps(document)


def _inline(props):
    return {
        policy.get("PolicyName", ""): _json(policy.get("PolicyDocument", {})) for policy in props.get("Policies") or ()
    }


def _tags(props, system):
    return [
        {"Key": tag["Key"], "Value": tag.get("Value", "")}
        for tag in props.get("Tags") or ()
        if tag["Key"].startswith("aws:cloudformation:") == system
    ]


def generated_name(stack_name, logical_id, size):
    """A new name at each creation, at most `size` characters: the stack's name is cut."""
    suffix = f"-{logical_id}-" + "".join(random.choices(string.ascii_letters + string.digits, k=12))
    return stack_name[: max(size - len(suffix), 0)] + suffix[-size:]


# A taken name, a missing policy or boundary, and a malformed document fail the role, and nothing is left of it.
@replaces(provisioners, "_iam_role_create")
def role_create(_original, logical_id, props, stack_name):
    name = props.get("RoleName") or generated_name(stack_name, logical_id, 64)
    tags = _tags(props, system=False)
    step(
        "CreateRole",
        tags,
        RoleName=name,
        Path=props.get("Path"),
        AssumeRolePolicyDocument=_json(props.get("AssumeRolePolicyDocument", {})),
        Description=props.get("Description"),
        MaxSessionDuration=props.get("MaxSessionDuration"),
        PermissionsBoundary=props.get("PermissionsBoundary"),
    )
    role = iam._roles[name]
    role["Tags"] += _tags(props, system=True)
    try:
        for policy, document in _inline(props).items():
            step("PutRolePolicy", RoleName=name, PolicyName=policy, PolicyDocument=document)
            step("GetRolePolicy", RoleName=name, PolicyName=policy)
        for arn in props.get("ManagedPolicyArns") or ():
            step("AttachRolePolicy", RoleName=name, PolicyArn=arn)
        step("GetRole", RoleName=name)
    except ValueError:
        try:
            provisioners._iam_role_delete(name, props)
        except ValueError as error:
            _left(logical_id, "AWS::IAM::Role", name, props, error)
        raise
    return name, {"Arn": role["Arn"], "RoleId": role["RoleId"]}


def _left(logical_id, kind, physical_id, props, error):
    """What the rollback could not remove."""
    if work := _WORK.get():
        props = props | {"Tags": _tags(props, system=False)}
        work.leftovers[logical_id] = {
            "PhysicalResourceId": physical_id,
            "ResourceType": kind,
            "ResourceStatus": "DELETE_FAILED",
            "ResourceStatusReason": str(error),
            "LogicalResourceId": logical_id,
            "Properties": props,
            "Attributes": {},
            "Timestamp": now_iso(),
        }


# What an update changes of a role is changed by one IAM call each; a failed one leaves the role as it was.
@replaces(provisioners, "_iam_role_update")
def role_update(_original, name, old, new, _stack_name, _logical_id=None):
    role = iam._roles.get(name)
    if role is None:
        raise handler_error(404, "NoSuchEntity", f"The role with name {name} cannot be found.")
    before = copy.deepcopy(role)
    try:
        _role_changes(name, old, new)
    except ValueError:
        for arn in set(role["AttachedPolicies"]) - set(before["AttachedPolicies"]):
            iam.detach_managed_policy(role, arn)
        for arn in set(before["AttachedPolicies"]) - set(role["AttachedPolicies"]):
            iam.attach_managed_policy(role, arn)
        role.update(before)
        raise
    return name, {"Arn": role["Arn"], "RoleId": role["RoleId"]}


def _role_changes(name, old, new):
    trust = "AssumeRolePolicyDocument"
    if old.get(trust) != new.get(trust):
        step("UpdateAssumeRolePolicy", RoleName=name, PolicyDocument=_json(new.get(trust, {})))
    if any(old.get(key) != new.get(key) for key in ("Description", "MaxSessionDuration")):
        step(
            "UpdateRole",
            RoleName=name,
            MaxSessionDuration=new.get("MaxSessionDuration", 3600),
            Description=new.get("Description"),
        )
    boundary = new.get("PermissionsBoundary")
    if boundary and boundary != old.get("PermissionsBoundary"):
        step("PutRolePermissionsBoundary", RoleName=name, PermissionsBoundary=boundary)
    elif old.get("PermissionsBoundary") and not boundary:
        step("DeleteRolePermissionsBoundary", RoleName=name)

    attached, wanted = old.get("ManagedPolicyArns") or [], new.get("ManagedPolicyArns") or []
    for arn in wanted:
        if arn not in attached:
            step("AttachRolePolicy", RoleName=name, PolicyArn=arn)
    for arn in attached:
        if arn not in wanted:
            _unless_gone("DetachRolePolicy", RoleName=name, PolicyArn=arn)
    put, wanted = _inline(old), _inline(new)
    for policy, document in wanted.items():
        if put.get(policy) != document:
            step("PutRolePolicy", RoleName=name, PolicyName=policy, PolicyDocument=document)
    for policy in put.keys() - wanted.keys():
        _unless_gone("DeleteRolePolicy", RoleName=name, PolicyName=policy)

    set_tags = {tag["Key"]: tag for tag in _tags(old, system=False)}
    wanted = {tag["Key"]: tag for tag in _tags(new, system=False)}
    if changed := [tag for key, tag in wanted.items() if set_tags.get(key) != tag]:
        step("TagRole", changed, RoleName=name)
    if gone := sorted(set_tags.keys() - wanted.keys()):
        step("UntagRole", keys=gone, RoleName=name)


def _unless_gone(action, **params):
    """A step that is done already where its object isn't there."""
    try:
        step(action, **params)
    except ValueError as error:
        if getattr(error, "code", None) != "NoSuchEntity":
            raise


# A role goes with the policies of its template; it stays, and its deletion fails, with others.
@replaces(provisioners, "_iam_role_delete")
def role_delete(_original, name, props):
    role = iam._roles.get(name)
    if role is None:
        return
    for arn in props.get("ManagedPolicyArns") or ():
        if arn in role["AttachedPolicies"]:
            step("DetachRolePolicy", RoleName=name, PolicyArn=arn)
    for policy in _inline(props):
        if policy in role["InlinePolicies"]:
            step("DeleteRolePolicy", RoleName=name, PolicyName=policy)
    step("DeleteRole", RoleName=name)


def _owners(props):
    """The roles, users and groups of a policy resource."""
    for kind in ("Role", "User", "Group"):
        for name in props.get(f"{kind}s") or ():
            yield kind, name


def _put_inline(props, policy):
    for kind, name in _owners(props):
        owner = {f"{kind}Name": name, "PolicyName": policy}
        step(f"Put{kind}Policy", **owner, PolicyDocument=_json(props.get("PolicyDocument", {})))
        step(f"Get{kind}Policy", **owner)


@replaces(provisioners, "_iam_policy_create")
def policy_create(_original, logical_id, props, stack_name):
    physical_id = generated_name(stack_name, logical_id, 128)
    try:
        _put_inline(props, props.get("PolicyName") or physical_id)
    except ValueError:
        with contextlib.suppress(ValueError):
            provisioners._iam_policy_delete(physical_id, props)
        raise
    return physical_id, {"Id": physical_id}


@replaces(provisioners, "_iam_policy_update")
def policy_update(_original, physical_id, old, new, _stack_name, _logical_id=None):
    policy = new.get("PolicyName") or physical_id
    _put_inline(new, policy)
    for kind, name in _owners(old):
        before = old.get("PolicyName") or physical_id
        if before != policy or (kind, name) not in _owners(new):
            _unless_gone(f"Delete{kind}Policy", **{f"{kind}Name": name}, PolicyName=before)
    return physical_id, {"Id": physical_id}


@replaces(provisioners, "_iam_policy_delete")
def policy_delete(_original, physical_id, props):
    for kind, name in _owners(props):
        _unless_gone(f"Delete{kind}Policy", **{f"{kind}Name": name}, PolicyName=props.get("PolicyName") or physical_id)


@replaces(provisioners, "_iam_managed_policy_create")
def managed_policy_create(_original, logical_id, props, stack_name):
    name = props.get("ManagedPolicyName") or generated_name(stack_name, logical_id, 128)
    document = _json(props.get("PolicyDocument", {}))
    step(
        "CreatePolicy",
        PolicyName=name,
        Path=props.get("Path"),
        Description=props.get("Description"),
        PolicyDocument=document,
    )
    arn = next(policy["Arn"] for policy in iam._policies.values() if policy["PolicyName"] == name)
    try:
        for kind, owner in _owners(props):
            step(f"Attach{kind}Policy", **{f"{kind}Name": owner}, PolicyArn=arn)
    except ValueError:
        try:
            provisioners._iam_managed_policy_delete(arn, props)
        except ValueError as error:
            _left(logical_id, "AWS::IAM::ManagedPolicy", arn, props, error)
        raise
    return arn, {"PolicyArn": arn, "PolicyId": iam._policies[arn]["PolicyId"]}


@replaces(provisioners, "_iam_managed_policy_update")
def managed_policy_update(original, arn, old, new, stack_name, logical_id=None):
    if old.get("PolicyDocument") != new.get("PolicyDocument"):
        authorize("CreatePolicyVersion", lambda name: {"PolicyArn": arn}.get(name, ""))
        if error := iam_evaluator.validate_policy_document(new.get("PolicyDocument", {})):
            raise handler_error(400, "MalformedPolicyDocument", error)
    return original(arn, old, new, stack_name, logical_id)


@replaces(provisioners, "_iam_managed_policy_delete")
def managed_policy_delete(_original, arn, props):
    policy = iam._policies.get(arn)
    if policy is None:
        return
    for kind, owner in _owners(props):
        _unless_gone(f"Detach{kind}Policy", **{f"{kind}Name": owner}, PolicyArn=arn)
    for version in [v["VersionId"] for v in policy["Versions"].values() if not v["IsDefaultVersion"]]:
        step("DeletePolicyVersion", PolicyArn=arn, VersionId=version)
    step("DeletePolicy", PolicyArn=arn)


# === CloudFormation: stacks ===


# Elements without a value are left out.
@replaces(helpers, "_xml")
def cloudformation_xml(original, status, root, inner):
    names = "ClientRequestToken|Description|LastUpdatedTime|ResourceStatusReason|StackStatusReason|StatusReason"
    return original(status, root, re.sub(f"<({names})></\\1>", "", inner))


# A deleted stack is known by its id only, for 90 days, also after another took its name.
@replaces(handlers, "_resolve_stack")
def resolve_stack(_original, name):
    if not name.startswith("arn:"):
        stack = cloudformation._stacks.get(name)
        return stack if stack and stack["StackStatus"] != "DELETE_COMPLETE" else None
    if kept := cloudformation._stacks.get(name):
        return kept
    stack = cloudformation._stacks.get(name.split("/")[1]) if "/" in name else None
    return stack if stack and stack["StackId"] == name else None


# A stack shows the role whose rights it uses, and when it was deleted.
@replaces(handlers, "_describe_stacks")
def describe_stacks(original, params):
    status, headers, body = original(params)
    for stack in cloudformation._stacks.values():
        more = "".join(
            f"<{tag}>{stack[key]}</{tag}>"
            for tag, key in (("RoleARN", "_role_arn"), ("DeletionTime", "DeletionTime"))
            if stack.get(key)
        )
        if more:
            element = f"<StackId>{stack['StackId']}</StackId>"
            body = body.replace(element.encode(), (element + more).encode())
    return status, headers, body


def _role_error(params):
    """Naming a role in RoleARN needs iam:PassRole, and a role that CloudFormation may assume."""
    arn = iam._p(params, "RoleARN")
    if not arn:
        return None
    if reason := refusal(caller(), "iam:PassRole", arn, {"iam:PassedToService": "cloudformation.amazonaws.com"}):
        return helpers._error("AccessDenied", reason, 403)
    role = iam._roles.get(arn.rpartition("/")[2])
    if role is None or "cloudformation.amazonaws.com" not in role["AssumeRolePolicyDocument"]:
        return helpers._error("ValidationError", f"Role {arn} is invalid or cannot be assumed")
    return None


def _repeated(action, stack, params):
    """An operation that was asked for with the same token is not done again: its answer is given again."""
    token = iam._p(params, "ClientRequestToken")
    if not stack or not token or stack.get("_tokens", {}).get(token) != action:
        return None
    result = (
        f"<{action}Result><StackId>{stack['StackId']}</StackId></{action}Result>" if action != "DeleteStack" else ""
    )
    return helpers._xml(200, f"{action}Response", result)


def _remember(action, stack, params):
    if token := iam._p(params, "ClientRequestToken"):
        stack.setdefault("_tokens", {})[token] = action
    if role := iam._p(params, "RoleARN"):
        stack["_role_arn"] = role


# A name is taken as long as a stack has it, whatever its status.
@replaces(handlers, "_create_stack")
def create_stack(original, params):
    name = iam._p(params, "StackName")
    existing = resolve_stack(name)
    if repeated := _repeated("CreateStack", existing, params):
        return repeated
    if existing:
        return helpers._error("AlreadyExistsException", f"Stack [{name}] already exists")
    if error := _role_error(params):
        return error
    deleted = cloudformation._stacks.get(name)
    reply = original(params)
    if reply[0] == 200:
        if deleted:
            cloudformation._stacks[deleted["StackId"]] = deleted
        stack = cloudformation._stacks[name]
        # There is no time of the last update before the first one.
        stack["LastUpdatedTime"] = ""
        _remember("CreateStack", stack, params)
    return reply


_UPDATABLE = {
    "CREATE_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"
}  # fmt: skip


def _not_updatable(stack):
    if stack["StackStatus"] in _UPDATABLE:
        return None
    return helpers._error(
        "ValidationError", f"Stack:{stack['StackId']} is in {stack['StackStatus']} state and can not be updated."
    )


@replaces(handlers, "_update_stack")
def update_stack(original, params):
    stack = resolve_stack(iam._p(params, "StackName"))
    if stack:
        error = _repeated("UpdateStack", stack, params) or _not_updatable(stack) or _role_error(params)
        if error:
            return error
    reply = original(params)
    if reply[0] == 200:
        _remember("UpdateStack", stack, params)
    return reply


@replaces(handlers, "_delete_stack")
def delete_stack(original, params):
    stack = resolve_stack(iam._p(params, "StackName"))
    if stack:
        if stack["StackStatus"] == "DELETE_IN_PROGRESS" or _repeated("DeleteStack", stack, params):
            return helpers._xml(200, "DeleteStackResponse", "")
        if error := _role_error(params):
            return error
    reply = original(params)
    if stack and reply[0] == 200:
        _remember("DeleteStack", stack, params)
    return reply


@contextlib.contextmanager
def _work(stack):
    work = Work(stack)
    _WORK.set(work)
    yield work


async def _still(stack_name, stack_id, status):
    """Waits as long as rules say; whether the stack is still there and in the same operation."""
    await calls.stack_takes()
    stack = cloudformation._stacks.get(stack_name)
    return stack is not None and stack["StackId"] == stack_id and stack["StackStatus"] == status


@replaces(stacks, "_deploy_stack_async")
async def deploy(original, stack_name, stack_id, *args, **kwargs):
    stack = cloudformation._stacks.get(stack_name)
    if stack is None or not await _still(stack_name, stack_id, stack["StackStatus"]):
        return
    with _work(stack) as work:
        await original(stack_name, stack_id, *args, **kwargs)
    _after_rollback(stack, work)


def _after_rollback(stack, work):
    """What a rollback could not delete stays in the stack, which is ROLLBACK_FAILED."""
    failed = {name: res for name, res in stack.get("_rollback_failed", {}).items() if "RevertTo" not in res}
    stack["_resources"] |= {
        name: res | {"LogicalResourceId": name, "ResourceStatus": "DELETE_FAILED"} for name, res in failed.items()
    }
    stack["_resources"] |= work.leftovers
    if work.leftovers and stack["StackStatus"] == "ROLLBACK_COMPLETE":
        cloudformation._stack_events[stack["StackId"]].pop()
        for name, res in work.leftovers.items():
            _event(
                stack,
                name,
                res["ResourceType"],
                "DELETE_FAILED",
                res["ResourceStatusReason"],
                res["PhysicalResourceId"],
            )
        stack["StackStatus"] = "ROLLBACK_FAILED"
        stack["StackStatusReason"] = f"The following resource(s) failed to delete: [{', '.join(work.leftovers)}]. "
        _event(
            stack,
            stack["StackName"],
            "AWS::CloudFormation::Stack",
            "ROLLBACK_FAILED",
            stack["StackStatusReason"],
            stack["StackId"],
        )
    if re.match(r"Resource \w+ failed: ", stack.get("StackStatusReason", "")):
        stack["StackStatusReason"] = _failed(stack["StackId"], stack["StackStatus"])


def _event(stack, *args):
    stacks._add_event(stack["StackId"], stack["StackName"], *args)


@replaces(stacks, "_delete_stack_async")
async def delete(original, stack_name, stack_id, *args, **kwargs):
    stack = cloudformation._stacks.get(stack_name)
    if stack is None:
        return
    if calls.stack_seconds():
        stack["StackStatus"] = "DELETE_IN_PROGRESS"
        _event(stack, stack_name, "AWS::CloudFormation::Stack", "DELETE_IN_PROGRESS", "", stack_id)
        if not await _still(stack_name, stack_id, "DELETE_IN_PROGRESS"):
            return
    with _work(stack):
        await original(stack_name, stack_id, *args, **kwargs)
    if stack["StackStatus"] == "DELETE_COMPLETE":
        stack["DeletionTime"] = now_iso()


@replaces(stacks, "_roll_back_operation")
async def roll_back(original, stack_name, stack_id, stack, *args, **kwargs):
    # Also asked for by itself, with RollbackStack.
    if _WORK.get() is None:
        _WORK.set(Work(stack))
    await original(stack_name, stack_id, stack, *args, **kwargs)


def _failed(stack_id, status):
    """Which resources made an operation fail, in the words of the stack's event."""
    verb = "update" if status.startswith("UPDATE") else "create"
    events = cloudformation._stack_events[stack_id]
    failed = [
        e["LogicalResourceId"]
        for e in events
        if e["ResourceStatus"] == f"{verb.upper()}_FAILED" and e["ResourceType"] != "AWS::CloudFormation::Stack"
    ]
    return f"The following resource(s) failed to {verb}: [{', '.join(dict.fromkeys(failed))}]. "


# The events of a stack name the failed resources, and each resource's creation has two in-progress events.
@replaces(stacks, "_add_event")
def add_event(
    original, stack_id, stack_name, logical_id, resource_type, status, reason="", physical_id="", detailed_status=""
):
    if resource_type == "AWS::CloudFormation::Stack":
        if status == "ROLLBACK_IN_PROGRESS" and reason == "Rollback requested":
            reason = _failed(stack_id, "CREATE") + "Rollback requested by user."
        elif status in ("CREATE_FAILED", "UPDATE_FAILED") and re.match(r"Resource \w+ failed: ", reason):
            reason = _failed(stack_id, status)
        elif reason == "Rollback complete":
            reason = ""
        last = (cloudformation._stack_events.get(stack_id) or [{}])[-1]
        if status == "DELETE_IN_PROGRESS" and last.get("ResourceStatus") == status:
            return
    elif status == "CREATE_COMPLETE":
        original(
            stack_id,
            stack_name,
            logical_id,
            resource_type,
            "CREATE_IN_PROGRESS",
            "Resource creation Initiated",
            physical_id,
        )
    original(stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status)


# === CloudFormation: change sets ===


# A change set's stack is named by name or id.
@replaces(changesets, "_find_change_set")
def find_change_set(original, name, stack_name=""):
    return original(name, _stack_of(stack_name))


def _stack_of(name):
    return name.split("/")[1] if name.startswith("arn:") and "/" in name else name


@replaces(changesets, "_list_change_sets")
def list_change_sets(original, params):
    stack = resolve_stack(iam._p(params, "StackName"))
    if stack is None:
        return helpers._error("ValidationError", f"Stack [{iam._p(params, 'StackName')}] does not exist")
    with _unfinished():
        return original(params | {"StackName": [stack["StackName"]]})


@replaces(changesets, "_create_change_set")
def create_change_set(original, params):
    name, change_set = iam._p(params, "StackName"), iam._p(params, "ChangeSetName")
    kind, token = iam._p(params, "ChangeSetType") or "UPDATE", iam._p(params, "ClientToken")
    stack = resolve_stack(name)
    known = find_change_set(change_set, name)[1]
    if known and token and known.get("_token") == token:
        result = f"<Id>{known['ChangeSetId']}</Id><StackId>{known['StackId']}</StackId>"
        return helpers._xml(200, "CreateChangeSetResponse", f"<CreateChangeSetResult>{result}</CreateChangeSetResult>")
    if stack and kind == "CREATE" and stack["StackStatus"] != "REVIEW_IN_PROGRESS":
        message = f"Stack [{name}] already exists and cannot be created again with the changeSet [{change_set}]."
        return helpers._error("ValidationError", message)
    if stack and kind == "UPDATE" and (error := _not_updatable(stack)):
        return error
    if error := _role_error(params):
        return error
    reply = original(params)
    if reply[0] == 200:
        record = cloudformation._change_sets[part(reply[2], "Id")]
        record["_token"], record["_role_arn"] = token, iam._p(params, "RoleARN")
        record["_ready"] = time.time() + calls.stack_seconds()
    return reply


@contextlib.contextmanager
def _unfinished():
    """Shows change sets that are not finished as such."""
    hidden = {"Status": "CREATE_IN_PROGRESS", "ExecutionStatus": "UNAVAILABLE", "StatusReason": "", "Changes": []}
    shown = [
        (cs, {key: cs[key] for key in hidden})
        for cs in cloudformation._change_sets.values()
        if cs.get("_ready", 0) > time.time()
    ]
    for change_set, _ in shown:
        change_set.update(hidden)
    try:
        yield
    finally:
        for change_set, real in shown:
            change_set.update(real)


def _on_change_set(original, params):
    """A change set's name needs its stack's name, which must be there."""
    name, stack = iam._p(params, "ChangeSetName"), iam._p(params, "StackName")
    if not name.startswith("arn:") and not stack:
        return helpers._error(
            "ValidationError", "StackName must be specified if ChangeSetName is not specified as an ARN."
        )
    if stack and resolve_stack(stack) is None:
        return helpers._error("ValidationError", f"Stack [{stack}] does not exist")
    with _unfinished():
        return original(params)


replaces(changesets, "_describe_change_set")(_on_change_set)


@replaces(changesets, "_execute_change_set")
def execute_change_set(original, params):
    _, record = find_change_set(iam._p(params, "ChangeSetName"), iam._p(params, "StackName"))
    unfinished = record and record.get("_ready", 0) > time.time()
    if record and (unfinished or record["ExecutionStatus"] != "AVAILABLE"):
        status = "CREATE_IN_PROGRESS" if unfinished else record["Status"]
        if not unfinished and record["ExecutionStatus"].startswith("EXECUTE"):
            status = record["ExecutionStatus"]
        message = f"ChangeSet [{record['ChangeSetId']}] cannot be executed in its current status of [{status}]"
        return helpers._error("InvalidChangeSetStatus", message)
    if record and record.get("_role_arn") and (stack := resolve_stack(record["StackId"])):
        stack["_role_arn"] = record["_role_arn"]
    return _on_change_set(original, params)


# === EKS ===


# Containers are not ours to start.
@replaces(eks, "_get_docker")
def no_docker(_original):
    return None


@replaces(eks, "_create_cluster")
def create_cluster(original, body, creator_arn=None):
    reply = original(body, creator_arn)
    if reply[0] == 200:
        # It sets the status, at some time.
        for thread in threading.enumerate():
            if thread.name == f"eks-{body['name']}":
                thread.join()
        cluster = eks._clusters[body["name"]]
        cluster["version"] = body.get("version", "1.36")
        cluster["platformVersion"] = "eks.4"
        cluster["identity"]["oidc"]["issuer"] = (
            f"https://oidc.eks.{get_region()}.amazonaws.com/id/{uuid.uuid4().hex.upper()}"
        )
        connect(cluster)
    return reply


def connect(cluster):
    """A cluster has the endpoint, CA and issuer of its control plane."""
    cluster["_auth_token"] = WEBHOOK["secret"]
    if facts := CLUSTERS.get(cluster["name"]):
        cluster["endpoint"] = facts["endpoint"]
        cluster["certificateAuthority"]["data"] = facts["ca"]
        cluster["identity"]["oidc"]["issuer"] = facts["issuer"]


# Members without a value are left out, and tags are those of TagResource.
@replaces(eks, "_json_resp")
def eks_json(original, status, body):
    for kind, value in list(body.items()):
        if isinstance(value, dict):
            body[kind] = _eks_object(value)
        elif isinstance(value, list):
            body[kind] = [_eks_object(v) if isinstance(v, dict) else v for v in value]
    return original(status, body)


def _eks_object(value):
    arn = next((value[k] for k in ("arn", "addonArn", "associationArn", "accessEntryArn") if value.get(k)), None)
    value = {k: v for k, v in value.items() if v != "" or k == "username"}
    if "tags" in value and arn:
        value["tags"] = eks._tags.get(arn, {})
    return value


# Lists have pages of at most 100 entries.
def _eks_paged(list_of, query, key):
    size = query.get("maxResults", "100")
    if not size.isdigit() or not 1 <= int(size) <= 100:
        return eks._error(400, "InvalidParameterException", "maxResults must be between 1 and 100")
    status, headers, body = list_of(query | {"maxResults": str(sys.maxsize)})
    if status != 200:
        return status, headers, body
    try:
        start = int(base64.urlsafe_b64decode(query.get("nextToken", "")).decode() or 0)
    except ValueError:
        return eks._error(400, "InvalidParameterException", "Invalid nextToken")
    items, end = json.loads(body)[key], start + int(size)
    answer = {key: items[start:end]}
    if end < len(items):
        answer["nextToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return eks._json_resp(200, answer)


@replaces(eks, "_list_clusters")
def list_clusters(original, query):
    return _eks_paged(original, query, "clusters")


def _listed(name, key):
    @replaces(eks, name)
    def paged(original, cluster, query):
        return _eks_paged(functools.partial(original, cluster), query, key)


_listed("_list_pod_identity_associations", "associations")
_listed("_list_addons", "addons")
_listed("_list_access_entries", "accessEntries")


@replaces(eks, "_describe_addon")
def describe_addon(original, cluster, addon):
    if cluster not in eks._clusters:
        return eks._error(404, "ResourceNotFoundException", f"No cluster found for name: {cluster}.")
    if f"{cluster}/{addon}" not in eks._addons:
        return eks._error(404, "ResourceNotFoundException", f"No addon: {addon} found in cluster: {cluster}")
    return original(cluster, addon)


# An association's role must exist, and be passed.
@replaces(eks, "_create_pod_identity_association")
def create_pod_identity_association(original, cluster, body):
    arn = body.get("roleArn", "")
    if cluster in eks._clusters and arn:
        if reason := refusal(caller(), "iam:PassRole", arn, {"iam:PassedToService": "pods.eks.amazonaws.com"}):
            return eks._error(403, "AccessDeniedException", reason)
        if arn.split(":")[4:5] == [get_account_id()] and arn.rpartition("/")[2] not in iam._roles:
            return eks._error(400, "InvalidParameterException", "Role provided in the request does not exist.")
    return original(cluster, body)


CLUSTER_VERSIONS = ("1.36", "1.35", "1.34", "1.33")


@replaces(eks, "_handle_request_sync")
def eks_request(original, method, path, headers, body, query):
    if (method, path) == ("GET", "/cluster-versions"):
        versions = [
            {
                "clusterVersion": version,
                "clusterType": "eks",
                "defaultPlatformVersion": "eks.4",
                "defaultVersion": version == CLUSTER_VERSIONS[0],
                "status": "standard-support",
                "versionStatus": "STANDARD_SUPPORT",
                "kubernetesPatchVersion": f"{version}.3",
            }
            for version in CLUSTER_VERSIONS
        ]
        return eks._json_resp(200, {"clusterVersions": versions})
    return original(method, path, headers, body, query)


# === Route53 ===


# Names are lower-case; an asterisk is sent as it is or escaped, and returned escaped.
@replaces(route53, "_parse_record_set")
def parse_record_set(original, element):
    record = original(element)
    record["Name"] = record["Name"].lower().replace(r"\052", "*")
    return record


@replaces(route53, "_build_record_set_el")
def build_record_set(original, parent, record):
    original(parent, record | {"Name": record["Name"].replace("*", r"\052")})


@replaces(route53, "_list_resource_record_sets")
def list_record_sets(original, zone_id, query):
    if name := _first(query, "name"):
        query = query | {"name": [name.lower().replace(r"\052", "*")]}
    status, headers, body = original(zone_id, query)
    return status, headers, re.sub(rb"<NextRecordName>\*", rb"<NextRecordName>\\052", body)


def _first(query, name):
    value = query.get(name, "")
    return value[0] if isinstance(value, list) else value


# A batch is refused as a whole where one record can't be in the zone; the messages are a list.
@replaces(route53, "_change_resource_record_sets")
def change_record_sets(original, zone_id, body):
    zone = route53._zones.get(zone_id)
    root = route53._parse_body(body)
    if zone and root is not None and (problems := _record_problems(zone, root)):
        return route53._error_response("InvalidChangeBatch", f"[{', '.join(problems)}]")
    status, headers, answer = original(zone_id, body)
    if part(answer, "Code") == "InvalidChangeBatch":
        text = unescape(part(answer, "Message")).replace("*", r"\052")
        text = re.sub(
            r"(resource record set) (\S+) type (\w+) but it already exists\.",
            r"\1 [name='\2', type='\3'] but it already exists",
            text,
        )
        return route53._error_response("InvalidChangeBatch", f"[{text}]")
    return status, headers, answer


def _record_problems(zone, root):
    name = zone["name"]
    changes = root.iter(f"{{{route53.NS}}}Change")
    batch = [
        (route53._text(change, "Action"), route53._parse_record_set(route53._find(change, "ResourceRecordSet")))
        for change in changes
    ]
    records = {(r["Name"], r["Type"]) for r in route53._records[zone["id"]]}
    problems = []
    for action, record in batch:
        shown, kind = record["Name"].replace("*", r"\052"), record["Type"]
        rrset = f"RRSet of type {kind} with DNS name {shown}"
        if record["Name"] != name and not record["Name"].endswith("." + name):
            problems.append(f"RRSet with DNS name {shown} is not permitted in zone {name}")
        if action == "DELETE":
            records.discard((record["Name"], kind))
            continue
        others = {k for n, k in records if n == record["Name"] and k != kind}
        if kind == "CNAME" and record["Name"] == name:
            problems.append(f"{rrset} is not permitted at apex in zone {name}")
        elif others and (kind == "CNAME" or "CNAME" in others):
            problems.append(
                f"{rrset} is not permitted as it conflicts with other records with the same DNS name in zone {name}"
            )
        problems += [
            _value_problem(kind, value) for value in record.get("ResourceRecords", []) if _value_problem(kind, value)
        ]
        records.add((record["Name"], kind))
    return problems


def _value_problem(kind, value):
    if kind in ("TXT", "SPF") and not re.fullmatch(r'("([^"\\]|\\.)*"\s*)+', value):
        reason = "InvalidCharacterString (Value should be enclosed in quotation marks)"
    elif kind == "A" and not re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", value):
        reason = "ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)"
    elif kind == "AAAA" and ":" not in value:
        reason = "AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address)"
    else:
        return None
    return f"Invalid Resource Record: 'FATAL problem: {reason} encountered with '{value}''"


# Zones are ordered by their reversed names, and the list starts with the first that is not before DNSName.
@replaces(route53, "_list_hosted_zones_by_name")
def list_hosted_zones_by_name(_original, query):
    dns_name, zone_id = _first(query, "dnsname"), _first(query, "hostedzoneid")
    size = min(int(_first(query, "maxitems") or 100), 100)

    def order(zone):
        return route53._name_sort_key(zone["name"]), zone["id"]

    zones = sorted(route53._zones.values(), key=order)
    if dns_name:
        first = route53._name_sort_key(dns_name.lower()), zone_id.rpartition("/")[2]
        zones = [zone for zone in zones if order(zone) >= first]

    def build(root):
        if dns_name:
            SubElement(root, "DNSName").text = dns_name
        if zone_id:
            SubElement(root, "HostedZoneId").text = zone_id
        listed = SubElement(root, "HostedZones")
        for zone in zones[:size]:
            route53._build_hosted_zone_el(listed, zone)
        SubElement(root, "IsTruncated").text = str(len(zones) > size).lower()
        SubElement(root, "MaxItems").text = str(size)
        if len(zones) > size:
            SubElement(root, "NextDNSName").text = zones[size]["name"]
            SubElement(root, "NextHostedZoneId").text = zones[size]["id"]

    return route53._xml_response("ListHostedZonesByNameResponse", build)


@replaces(route53, "handle_request")
async def route53_request(original, method, path, headers, body, query):
    if (method, path) == ("GET", f"/{route53.API_VERSION}/hostedzonecount"):
        count = str(len(route53._zones))
        return route53._xml_response(
            "GetHostedZoneCountResponse", lambda root: setattr(SubElement(root, "HostedZoneCount"), "text", count)
        )
    if (method, path) == ("POST", f"/{route53.API_VERSION}/tags/hostedzone"):
        return _tags_of_zones([found.decode() for found in re.findall(rb"<ResourceId>([^<]+)<", body)])
    return await original(method, path, headers, body, query)


def _tags_of_zones(ids):
    if not 1 <= len(ids) <= 10:
        return route53._error_response("InvalidInput", "1 to 10 resource IDs can be given")
    for zone_id in ids:
        arn = f"arn:aws:route53:::hostedzone/{zone_id}"
        if reason := refusal(caller(), "route53:ListTagsForResources", arn):
            return route53._error_response("AccessDenied", reason, 403)
        if zone_id not in route53._zones:
            return route53._error_response("NoSuchHostedZone", f"No hosted zone found with ID: {zone_id}", 404)

    def build(root):
        sets = SubElement(root, "ResourceTagSets")
        for zone_id in ids:
            tagged = SubElement(sets, "ResourceTagSet")
            SubElement(tagged, "ResourceType").text = "hostedzone"
            SubElement(tagged, "ResourceId").text = zone_id
            tags = SubElement(tagged, "Tags")
            for key, value in route53._tags.get(("hostedzone", zone_id), {}).items():
                tag = SubElement(tags, "Tag")
                SubElement(tag, "Key").text = key
                SubElement(tag, "Value").text = value

    return route53._xml_response("ListTagsForResourcesResponse", build)
