"""Runs ministack as the sandbox's AWS: corrected, with records of its calls and faults on demand.

Ends with its stdin. Beside AWS it answers, below /_sandbox (bodies and answers are JSON):

POST   seed            everything anew: the user admin, the clusters, the zone example.com; no calls, no faults
POST   cluster         {name, endpoint, caFile, issuer, publicKeyFile}: the control plane of a cluster
POST   cluster-status  {name, status}: what DescribeCluster reports until the next seed
GET    calls           every call, in order; ?userAgent=, ?service=, ?action= choose
DELETE calls
POST   faults          a rule, or a list of rules, that are added: calls.Rule
GET    faults          the rules, and how often each one hit
DELETE faults
GET    secrets         every secret key and session token in use: no program may print one
"""

import argparse
import asyncio
import base64
import logging
import os
import signal
import sys
import threading
from pathlib import Path

ZONE = "Z0421873X5K9QJ2VH7RW"


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("port", "account", "region", "cluster", "secret", "admin-key", "admin-secret"):
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args()


OPTIONS = arguments()
# Read by ministack when it is imported.
os.environ |= {
    "AUTH": "true",
    "BIND_HOST": "127.0.0.1",
    "DOCKER_HOST": "unix:///nonexistent",
    "GATEWAY_PORT": OPTIONS.port,
    "LOG_LEVEL": "WARNING",
    "MINISTACK_ACCOUNT_ID": OPTIONS.account,
    "MINISTACK_REGION": OPTIONS.region,
    "MINISTACK_TEST_NO_AUTOSTART": "1",
    "PERSIST_STATE": "0",
}

# Its warning is about a package that nothing here needs.
logging.getLogger("kms").setLevel(logging.ERROR)

import calls
import corrections
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app as ministack
from ministack.core import iam_actions
from ministack.core.responses import request_scope
from ministack.services import ec2, eks, iam, route53, sts


def seed():
    """Empties the account, and makes what every sandbox has."""
    ministack._reset_all_state()
    admin = f"arn:aws:iam::{OPTIONS.account}:user/admin"
    with request_scope(OPTIONS.account, OPTIONS.region):
        iam._create_user({"UserName": "admin"})
        iam._attach_user_policy({"UserName": "admin", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"})
        iam._access_keys[OPTIONS.admin_key] = {
            "UserName": "admin",
            "AccessKeyId": OPTIONS.admin_key,
            "SecretAccessKey": OPTIONS.admin_secret,
            "Status": "Active",
            "CreateDate": iam._now(),
        }
        network = make_network()
        for name in {OPTIONS.cluster, *corrections.CLUSTERS}:
            make_cluster(name, network, admin)
        route53._zones[ZONE] = {
            "id": ZONE,
            "name": "example.com.",
            "caller_reference": "sandbox",
            "comment": "",
            "private": False,
            "vpcs": [],
        }
        route53._records[ZONE] = route53._default_records("example.com.")
        route53._caller_refs["sandbox"] = ZONE


def make_network():
    ec2._create_vpc({"CidrBlock": "192.168.0.0/16"})
    vpc = next(v for v in ec2._vpcs.values() if v["CidrBlock"] == "192.168.0.0/16")["VpcId"]
    for n, zone in enumerate("ab"):
        ec2._create_subnet({"VpcId": vpc, "CidrBlock": f"192.168.{n}.0/24", "AvailabilityZone": OPTIONS.region + zone})
    subnets = [s["SubnetId"] for s in ec2._subnets.values() if s["VpcId"] == vpc]
    return {"vpcId": vpc, "subnetIds": subnets}


def make_cluster(name, network, creator):
    role = f"{name}-cluster"
    iam._create_role(
        {
            "RoleName": role,
            "AssumeRolePolicyDocument": '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", '
            '"Principal": {"Service": "eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}',
        }
    )
    iam._attach_role_policy({"RoleName": role, "PolicyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"})
    eks._create_cluster(
        {
            "name": name,
            "version": "1.36",
            "roleArn": iam._roles[role]["Arn"],
            "resourcesVpcConfig": network,
            "accessConfig": {"authenticationMode": "API"},
        },
        creator,
    )


def remember_cluster(facts):
    corrections.CLUSTERS[facts["name"]] = {
        "endpoint": facts["endpoint"],
        "ca": base64.b64encode(Path(facts["caFile"]).read_bytes()).decode(),
        "issuer": facts["issuer"],
        "key": corrections.public_key(Path(facts["publicKeyFile"]).read_text()),
    }
    cluster = eks._clusters.get_scoped(OPTIONS.account, OPTIONS.region, facts["name"])
    if cluster:
        corrections.connect(cluster)


async def control(method, path, value):
    if (method, path) == ("POST", "seed"):
        async with ministack._get_reset_lock():
            seed()
    elif (method, path) == ("POST", "cluster"):
        remember_cluster(value)
    elif (method, path) == ("POST", "cluster-status"):
        eks._clusters._data[OPTIONS.account, OPTIONS.region, value["name"]]["status"] = value["status"]
    elif (method, path) == ("GET", "secrets"):
        return secrets()
    else:
        raise ValueError(f"no {method} /_sandbox/{path}")
    return {}


def secrets():
    with request_scope(OPTIONS.account, OPTIONS.region):
        issued = [*iam._access_keys.values(), *sts._sessions.values()]
    return [one[kind] for one in issued for kind in ("SecretAccessKey", "SessionToken") if one.get(kind)]


def end_with_stdin():
    def watch():
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


async def main():
    config = Config()
    config.bind = [f"127.0.0.1:{OPTIONS.port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    await serve(calls.Gateway(control), config, shutdown_trigger=asyncio.Event().wait)


corrections.WEBHOOK["secret"] = OPTIONS.secret
for service in ("cloudformation", "eks", "iam", "route53", "sts"):
    # Read now, not in the first call.
    ministack._get_module(service)
    iam_actions._tag_operations(service)
    iam_actions.unsigned_operations(service)
    iam_actions._get_routes_for_service(service)
seed()
end_with_stdin()
asyncio.run(main())
