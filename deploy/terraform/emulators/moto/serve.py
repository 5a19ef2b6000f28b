"""moto on a free port of loopback, with what the AWS provider asks for and moto lacks. Prints `URL CERTIFICATE_ARN`, then serves until stdin ends."""

import os
import sys

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
for name, value in {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "eu-central-1"}.items():
    os.environ[name] = value

import boto3
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.server import ThreadedMotoServer


def add(cls, name, answer):
    """An operation that moto does not have: answered, and nothing is kept."""
    if not hasattr(cls, name):
        setattr(cls, name, lambda self: answer)


# The provider reads tags after each resource, also where none were given.
add(ApplicationAutoScalingResponse, "list_tags_for_resource", '{"Tags": {}}')
add(ApplicationAutoScalingResponse, "tag_resource", "{}")
add(ApplicationAutoScalingResponse, "untag_resource", "{}")

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"
acm = boto3.client("acm", endpoint_url=url)
certificate = acm.request_certificate(DomainName="console.example.com")["CertificateArn"]
print(url, certificate, flush=True)
sys.stdin.read()
server.stop()
