"""Follows an instance through its life, and compares what is said of it with
the original's words, to the full stop."""

import time

import boto3

elb = boto3.client("elb")
web = {"LoadBalancerName": "web"}
ids = {"Instances": [{"InstanceId": "web-1"}]}

REGISTERING = ("OutOfService", "ELB", "Instance registration is still in progress.")
IN_SERVICE = ("InService", "N/A", "N/A")
DRAINING = ("InService", "N/A", "Instance deregistration currently in progress.")
GONE = ("OutOfService", "Instance", "Instance is not currently registered with the LoadBalancer.")
UNHEALTHY = (
    "OutOfService",
    "Instance",
    "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
)
RECOVERING = (
    "OutOfService",
    "Instance",
    "Instance has not passed the configured HealthyThreshold number of health checks consecutively.",
)


def told():
    (state,) = elb.describe_instance_health(**ids, **web)["InstanceStates"]
    assert state["InstanceId"] == "web-1", state
    return state["State"], state["ReasonCode"], state["Description"]


def until(wanted, *before):
    """Waits for `wanted`; nothing else than `before` is said until then."""
    deadline = time.monotonic() + 40
    while (now := told()) != wanted:
        assert now in before, f"{now} on the way to {wanted}"
        assert time.monotonic() < deadline, f"still {now}, not {wanted}"
        time.sleep(0.1)
    print(*wanted)


def check(path):
    elb.configure_health_check(
        HealthCheck={
            "Target": f"HTTP:8080{path}",
            "Interval": 5,
            "Timeout": 2,
            "UnhealthyThreshold": 2,
            "HealthyThreshold": 2,
        },
        **web,
    )


vip = elb.create_load_balancer(
    Listeners=[{"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 8080}],
    AvailabilityZones=["local-1a"],
    **web,
)["DNSName"]
elb.modify_load_balancer_attributes(
    LoadBalancerAttributes={"ConnectionDraining": {"Enabled": True, "Timeout": 3600}}, **web
)
check("/")
elb.register_instances_with_load_balancer(**ids, **web)
until(IN_SERVICE, REGISTERING)
# nginx has no such page.
check("/missing")
until(UNHEALTHY, IN_SERVICE)
check("/")
until(RECOVERING, UNHEALTHY)
until(IN_SERVICE, RECOVERING)
elb.deregister_instances_from_load_balancer(**ids, **web)
until(GONE)
try:
    elb.describe_instance_health(Instances=[{"InstanceId": "web-2"}], **web)
    raise AssertionError("web-2 was never registered")
except elb.exceptions.InvalidEndPointException as refused:
    print("never registered:", refused.response["Error"]["Code"])
