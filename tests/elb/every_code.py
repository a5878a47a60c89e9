"""Provokes every error code of the API's model that ebb has a cause for, and
the common ones, as boto3 sees them: as the exception's class where there is
one."""

import boto3
from botocore.exceptions import ClientError

# What the model checks before sending is ours to check: let it through.
from botocore.config import Config

elb = boto3.client("elb", config=Config(parameter_validation=False))
seen = {}


def refused(code, action, **parameters):
    try:
        getattr(elb, action)(**parameters)
    except ClientError as error:
        said = error.response["Error"]
        assert said["Code"] == code, f"{action}: {said} instead of {code}"
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert 400 <= status < 500, f"{action}: {status} would be tried again"
        assert error.response["ResponseMetadata"]["RetryAttempts"] == 0, action
        seen.setdefault(code, (action, said["Message"]))
        return
    raise AssertionError(f"{action} {parameters} was not refused with {code}")


def listener(port=80, **other):
    return {"Protocol": "TCP", "LoadBalancerPort": port, "InstancePort": 8080} | other


def create(code, name="new", listeners=None, **other):
    where = {} if "Subnets" in other else {"AvailabilityZones": ["a"]}
    refused(
        code,
        "create_load_balancer",
        LoadBalancerName=name,
        Listeners=listeners or [listener()],
        **(where | other),
    )


web = {"LoadBalancerName": "web"}
elb.create_load_balancer(Listeners=[listener()], AvailabilityZones=["a"], **web)

# CreateLoadBalancer.
create("DuplicateLoadBalancerName", "web", [listener(81)])
create("CertificateNotFound", listeners=[listener(443, SSLCertificateId="arn:x")])
create("InvalidConfigurationRequest", listeners=[listener(Protocol="HTTP", InstanceProtocol="TCP")])
create("SubnetNotFound", Subnets=["net-1"])
create("InvalidSubnet", Subnets=["subnet- "])
create("InvalidSecurityGroup", SecurityGroups=["all"])
create("InvalidScheme", Scheme="public")
create("TooManyTags", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)])
create("DuplicateTagKeys", Tags=[{"Key": "k", "Value": "a"}, {"Key": "k", "Value": "b"}])
for protocol in ["HTTPS", "SSL", "UDP"]:
    create("UnsupportedProtocol", listeners=[listener(443, Protocol=protocol)])
create("ValidationError", "a.b")
create("ValidationError", "x" * 33)
create("ValidationError", listeners=[listener(65536)])
for name in ["two", "three", "four"]:
    elb.create_load_balancer(LoadBalancerName=name, Listeners=[listener()], AvailabilityZones=["a"])
create("TooManyLoadBalancers")

# Listeners.
refused("DuplicateListener", "create_load_balancer_listeners", Listeners=[listener(InstancePort=81)], **web)
refused("UnsupportedProtocol", "create_load_balancer_listeners", Listeners=[listener(443, Protocol="HTTPS")], **web)
certificate = {"SSLCertificateId": "arn:x"}
refused("ListenerNotFound", "set_load_balancer_listener_ssl_certificate", LoadBalancerPort=81, **certificate, **web)

# Instances.
for action in [
    "register_instances_with_load_balancer",
    "deregister_instances_from_load_balancer",
    "describe_instance_health",
]:
    refused("InvalidInstance", action, Instances=[{"InstanceId": "i-0aaa"}], **web)

# Attributes, with all the bounds that clients do not check.
for draining in [
    {"Enabled": True, "Timeout": 0},
    {"Enabled": True, "Timeout": 3601},
    {"Enabled": True, "Timeout": -1},
    {"Timeout": 300},
]:
    attributes = {"ConnectionDraining": draining}
    refused("ValidationError", "modify_load_balancer_attributes", LoadBalancerAttributes=attributes, **web)
for idle in [0, 4001]:
    attributes = {"ConnectionSettings": {"IdleTimeout": idle}}
    refused("ValidationError", "modify_load_balancer_attributes", LoadBalancerAttributes=attributes, **web)
refused(
    "InvalidConfigurationRequest",
    "modify_load_balancer_attributes",
    LoadBalancerAttributes={"AccessLog": {"Enabled": True}},
    **web,
)
refused(
    "LoadBalancerAttributeNotFound",
    "modify_load_balancer_attributes",
    LoadBalancerAttributes={"AdditionalAttributes": [{"Key": "a", "Value": "b"}]},
    **web,
)

# Health checks.
good = {"Target": "TCP:80", "Interval": 30, "Timeout": 5, "UnhealthyThreshold": 2, "HealthyThreshold": 10}
for bad in [
    {"Target": "PING"},
    {"Target": "HTTP:80"},
    {"Interval": 4},
    {"Interval": 301},
    {"Timeout": 61},
    {"Timeout": 30},
    {"UnhealthyThreshold": 11},
    {"HealthyThreshold": 1},
]:
    refused("ValidationError", "configure_health_check", HealthCheck=good | bad, **web)

# Policies.
policy = {"PolicyName": "p", "CookieName": "c"}
elb.create_app_cookie_stickiness_policy(**policy, **web)
refused("DuplicatePolicyName", "create_app_cookie_stickiness_policy", **policy, **web)
refused("PolicyNotFound", "set_load_balancer_policies_of_listener", LoadBalancerPort=80, PolicyNames=["q"], **web)
refused("InvalidConfigurationRequest", "set_load_balancer_policies_of_listener", LoadBalancerPort=80, PolicyNames=["p"], **web)
refused("PolicyTypeNotFound", "create_load_balancer_policy", PolicyName="q", PolicyTypeName="Nothing", **web)
for n in range(99):
    elb.create_lb_cookie_stickiness_policy(PolicyName=f"p{n}", **web)
refused("TooManyPolicies", "create_lb_cookie_stickiness_policy", PolicyName="one-more", **web)

# There is none of that name: every action says so that needs one.
nobody = {"LoadBalancerName": "nobody"}
for action, parameters in [
    ("configure_health_check", {"HealthCheck": good}),
    ("create_load_balancer_listeners", {"Listeners": [listener()]}),
    ("delete_load_balancer_listeners", {"LoadBalancerPorts": [80]}),
    ("register_instances_with_load_balancer", {"Instances": [{"InstanceId": "web-1"}]}),
    ("deregister_instances_from_load_balancer", {"Instances": [{"InstanceId": "web-1"}]}),
    ("describe_instance_health", {}),
    ("describe_load_balancer_attributes", {}),
    ("modify_load_balancer_attributes", {"LoadBalancerAttributes": {"ConnectionDraining": {"Enabled": True}}}),
]:
    refused("LoadBalancerNotFound", action, **parameters, **nobody)
refused("LoadBalancerNotFound", "describe_load_balancers", LoadBalancerNames=["nobody"])
elb.delete_load_balancer(**nobody)

# Those of the model, by class. `DependencyThrottle` has no cause here: ebb
# asks nobody else. `OperationNotPermitted` needs an agent without a pool of
# addresses, which has a test of its own.
modelled = {shape.metadata["error"]["code"] for shape in elb.meta.service_model.error_shapes}
not_here = {"DependencyThrottle", "OperationNotPermitted", "InvalidEndPoint"}
missing = modelled - set(seen) - not_here
for code, (action, message) in sorted(seen.items()):
    print(f"{code}: {action}: {message[:100]}")
assert not missing, f"not provoked: {sorted(missing)}"
