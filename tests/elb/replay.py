"""Signs requests for other times and sends them again: what was right a while
ago is refused now, and so is what was changed after it was signed."""

import datetime
import http.client
import urllib.parse

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

session = boto3.Session()
endpoint = session.client("elb").meta.endpoint_url
address = urllib.parse.urlsplit(endpoint).netloc


def signed(body, age):
    """A request as it was signed `age` seconds ago."""
    request = AWSRequest("POST", endpoint + "/", data=body)
    request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    request.headers["Host"] = address
    signer = SigV4Auth(session.get_credentials(), "elasticloadbalancing", "us-east-1")
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
    request.context["timestamp"] = then.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    # What `add_auth` does but for taking the time.
    canonical = signer.canonical_request(request)
    text = signer.string_to_sign(request, canonical)
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return request


def send(request, body=None):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("POST", "/", body or request.data, dict(request.headers.items()))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


LIST = b"Action=DescribeLoadBalancers&Version=2012-06-01"

status, text = send(signed(LIST, 0))
assert status == 200, text
for age in [16 * 60, -16 * 60]:
    status, text = send(signed(LIST, age))
    assert (status, "<Code>RequestExpired</Code>" in text) == (400, True), text
    print(f"signed {age} s ago: RequestExpired")
status, text = send(signed(LIST, 14 * 60))
assert status == 200, text
status, text = send(signed(LIST, 0), b"Action=DeleteLoadBalancer&Version=2012-06-01&LoadBalancerName=a")
assert (status, "<Code>SignatureDoesNotMatch</Code>" in text) == (403, True), text
print("changed after it was signed: SignatureDoesNotMatch")
request = signed(LIST, 0)
del request.headers["X-Amz-Date"]
status, text = send(request)
assert status == 400 or status == 403, text
print("without its date:", text.split("<Code>")[1].split("</Code>")[0])
