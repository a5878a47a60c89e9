"""Calls every action of the API's model at least once, and checks the answers."""

import boto3

elb = boto3.client("elb")
called = set()
elb.meta.events.register(
    "after-call.elastic-load-balancing.*",
    lambda model, **_: called.add(model.name),
)


def listener(port, instance_port=8080, protocol="TCP"):
    return {
        "Protocol": protocol,
        "LoadBalancerPort": port,
        "InstanceProtocol": protocol,
        "InstancePort": instance_port,
    }


def described(name):
    return elb.describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"][0]


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


# Load balancers.
vip = elb.create_load_balancer(
    LoadBalancerName="one",
    Listeners=[listener(80)],
    AvailabilityZones=["local-1a"],
    Tags=[{"Key": "stage", "Value": "test"}],
)["DNSName"]
same(vip, "10.0.0.100")
elb.create_load_balancer(
    LoadBalancerName="two",
    Listeners=[listener(80, protocol="HTTP")],
    Subnets=["subnet-1"],
    SecurityGroups=["sg-1"],
    Scheme="internal",
)
one = described("one")
same(one["DNSName"], vip)
same(one["Scheme"], "internet-facing")
same(one["ListenerDescriptions"], [{"Listener": listener(80), "PolicyNames": []}])
pages = elb.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 1})
same([lb["LoadBalancerName"] for page in pages for lb in page["LoadBalancerDescriptions"]], ["one", "two"])

# Listeners.
elb.create_load_balancer_listeners(LoadBalancerName="one", Listeners=[listener(81), listener(82)])
elb.delete_load_balancer_listeners(LoadBalancerName="one", LoadBalancerPorts=[82])
same([l["Listener"]["LoadBalancerPort"] for l in described("one")["ListenerDescriptions"]], [80, 81])
try:
    elb.set_load_balancer_listener_ssl_certificate(
        LoadBalancerName="one", LoadBalancerPort=80, SSLCertificateId="arn:aws:iam::1:server-certificate/x"
    )
    raise AssertionError("ebb does not end TLS")
except elb.exceptions.UnsupportedProtocolException as refused:
    assert "TLS" in str(refused), refused

# Instances.
answer = elb.register_instances_with_load_balancer(
    LoadBalancerName="one", Instances=[{"InstanceId": "web-1"}, {"InstanceId": "10.0.1.12"}]
)
same(sorted(i["InstanceId"] for i in answer["Instances"]), ["10.0.1.12", "web-1"])
elb.get_waiter("instance_in_service").wait(LoadBalancerName="one", WaiterConfig={"Delay": 1})
states = elb.describe_instance_health(LoadBalancerName="one")["InstanceStates"]
same({(s["State"], s["ReasonCode"], s["Description"]) for s in states}, {("InService", "N/A", "N/A")})
answer = elb.deregister_instances_from_load_balancer(
    LoadBalancerName="one", Instances=[{"InstanceId": "10.0.1.12"}]
)
same(answer["Instances"], [{"InstanceId": "web-1"}])
same(described("one")["Instances"], [{"InstanceId": "web-1"}])

# Health check.
check = {"Target": "HTTP:8080/", "Interval": 10, "Timeout": 3, "UnhealthyThreshold": 2, "HealthyThreshold": 3}
same(elb.configure_health_check(LoadBalancerName="one", HealthCheck=check)["HealthCheck"], check)
same(described("one")["HealthCheck"], check)

# Attributes.
answer = elb.modify_load_balancer_attributes(
    LoadBalancerName="one",
    LoadBalancerAttributes={
        "ConnectionDraining": {"Enabled": True, "Timeout": 45},
        "ConnectionSettings": {"IdleTimeout": 600},
    },
)
same(answer["LoadBalancerName"], "one")
attributes = elb.describe_load_balancer_attributes(LoadBalancerName="one")["LoadBalancerAttributes"]
same(attributes["ConnectionDraining"], {"Enabled": True, "Timeout": 45})
same(attributes["ConnectionSettings"], {"IdleTimeout": 600})

# Tags.
elb.add_tags(LoadBalancerNames=["one"], Tags=[{"Key": "owner", "Value": "net"}])
elb.remove_tags(LoadBalancerNames=["one"], Tags=[{"Key": "stage"}])
tags = elb.describe_tags(LoadBalancerNames=["one"])["TagDescriptions"]
same(tags, [{"LoadBalancerName": "one", "Tags": [{"Key": "owner", "Value": "net"}]}])

# Labels.
answer = elb.enable_availability_zones_for_load_balancer(LoadBalancerName="one", AvailabilityZones=["local-1b"])
same(answer["AvailabilityZones"], ["local-1a", "local-1b"])
answer = elb.disable_availability_zones_for_load_balancer(LoadBalancerName="one", AvailabilityZones=["local-1a"])
same(answer["AvailabilityZones"], ["local-1b"])
same(elb.attach_load_balancer_to_subnets(LoadBalancerName="two", Subnets=["subnet-2"])["Subnets"], ["subnet-1", "subnet-2"])
same(elb.detach_load_balancer_from_subnets(LoadBalancerName="two", Subnets=["subnet-1"])["Subnets"], ["subnet-2"])
same(elb.apply_security_groups_to_load_balancer(LoadBalancerName="two", SecurityGroups=["sg-2"])["SecurityGroups"], ["sg-2"])

# Policies, which are only recorded.
elb.create_app_cookie_stickiness_policy(LoadBalancerName="two", PolicyName="app", CookieName="session")
elb.create_lb_cookie_stickiness_policy(LoadBalancerName="two", PolicyName="cookie", CookieExpirationPeriod=60)
elb.create_load_balancer_policy(
    LoadBalancerName="two",
    PolicyName="proxy",
    PolicyTypeName="ProxyProtocolPolicyType",
    PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
)
names = [p["PolicyName"] for p in elb.describe_load_balancer_policies(LoadBalancerName="two")["PolicyDescriptions"]]
same(names, ["app", "cookie", "proxy"])
assert elb.describe_load_balancer_policy_types()["PolicyTypeDescriptions"]
elb.delete_load_balancer_policy(LoadBalancerName="two", PolicyName="cookie")
elb.set_load_balancer_policies_of_listener(LoadBalancerName="one", LoadBalancerPort=80, PolicyNames=[])
elb.set_load_balancer_policies_for_backend_server(LoadBalancerName="one", InstancePort=8080, PolicyNames=[])

assert elb.describe_account_limits()["Limits"]
for name in ["one", "two"]:
    elb.delete_load_balancer(LoadBalancerName=name)
same(elb.describe_load_balancers()["LoadBalancerDescriptions"], [])

every = set(elb.meta.service_model.operation_names)
print(f"{len(called)} of {len(every)} actions")
assert called == every, f"not called: {sorted(every - called)}"
