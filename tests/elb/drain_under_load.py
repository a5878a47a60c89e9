"""Creates a balancer, fills it, takes an instance out of it under load, and
counts the requests that failed. Prints `requests N, failed N`."""

import http.client
import threading
import time

import boto3

THREADS = 8

elb = boto3.client("elb")
web = {"LoadBalancerName": "web"}
ids = ["web-1", "web-2", "web-3"]
soon = {"Delay": 1, "MaxAttempts": 60}

vip = elb.create_load_balancer(
    Listeners=[{"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 8080}],
    AvailabilityZones=["local-1a"],
    **web,
)["DNSName"]
elb.modify_load_balancer_attributes(
    LoadBalancerAttributes={"ConnectionDraining": {"Enabled": True, "Timeout": 60}}, **web
)
elb.register_instances_with_load_balancer(Instances=[{"InstanceId": i} for i in ids], **web)
elb.get_waiter("any_instance_in_service").wait(WaiterConfig=soon, **web)
elb.get_waiter("instance_in_service").wait(WaiterConfig=soon, **web)
print("in service:", *ids)

stop = threading.Event()
lock = threading.Lock()
done = []  # (started, instance, failure)


def ask(path, size=None):
    started = time.monotonic()
    try:
        connection = http.client.HTTPConnection(vip, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
        assert size is None or len(body) == size, len(body)
        outcome = (started, answer.headers["X-Backend"], None)
    except Exception as failure:
        outcome = (started, None, repr(failure))
    with lock:
        done.append(outcome)


def short_ones():
    while not stop.is_set():
        ask("/")


def long_ones():
    # Four seconds each: some are under way on every instance at any time.
    while not stop.is_set():
        ask("/file?rate=4m", 16 << 20)


threads = [threading.Thread(target=short_ones) for _ in range(THREADS)]
threads += [threading.Thread(target=long_ones) for _ in range(THREADS)]
for thread in threads:
    thread.start()
time.sleep(2)

left = elb.deregister_instances_from_load_balancer(Instances=[{"InstanceId": "web-2"}], **web)
acknowledged = time.monotonic()
assert sorted(i["InstanceId"] for i in left["Instances"]) == ["web-1", "web-3"], left
state = elb.describe_instance_health(Instances=[{"InstanceId": "web-2"}], **web)["InstanceStates"][0]
print("deregistered:", state["State"], state["Description"])
assert state["State"] == "InService", state
assert state["Description"] == "Instance deregistration currently in progress.", state

elb.get_waiter("instance_deregistered").wait(
    Instances=[{"InstanceId": "web-2"}], WaiterConfig=soon, **web
)
print(f"drained after {time.monotonic() - acknowledged:.1f} s")
time.sleep(1)
stop.set()
for thread in threads:
    thread.join()

failed = [failure for _, _, failure in done if failure]
late = [started for started, instance, _ in done if instance == "web-2" and started > acknowledged]
before = {instance for started, instance, _ in done if started < acknowledged}
print("first failures:", *failed[:3]) if failed else None
assert not late, f"{len(late)} requests reached web-2 after the answer"
assert "web-2" in before, f"web-2 had no part in it: {before}"
print(f"requests {len(done)}, failed {len(failed)}")
