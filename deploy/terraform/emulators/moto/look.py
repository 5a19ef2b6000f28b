"""Looks at what was applied to moto: queues, tables, roles, services, alarms. Arguments: URL NAME. A line a finding; exit code 1 if one is bad."""

import json
import sys

import boto3

url, name = sys.argv[1:]
failed = 0


def client(service):
    return boto3.client(service, endpoint_url=url, region_name="eu-central-1", aws_access_key_id="local", aws_secret_access_key="local")


def expect(what, found, wanted):
    global failed
    good = found == wanted
    failed += not good
    print(f"{'ok' if good else 'BAD'}: {what}" + ("" if good else f": {found!r}, not {wanted!r}"))


sqs = client("sqs")
urls = {u.rsplit("/", 1)[1]: u for u in sqs.list_queues(QueueNamePrefix=name)["QueueUrls"]}
expect(
    "queues",
    sorted(urls),
    sorted([f"{name}-{p}{s}" for p in ("high", "standard", "low") for s in ("", "-dead-letters")] + [f"{name}-ticks.fifo"]),
)
for queue, queue_url in sorted(urls.items()):
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    fifo = queue.endswith(".fifo")
    expect(f"retention of {queue}", attributes["MessageRetentionPeriod"], "300" if fifo else "1209600")
    if not fifo and not queue.endswith("-dead-letters"):
        policy = json.loads(attributes["RedrivePolicy"])
        expect(f"redrive of {queue}", (policy["deadLetterTargetArn"].rsplit(":", 1)[1], int(policy["maxReceiveCount"])), (f"{queue}-dead-letters", 100))
        sqs.send_message(QueueUrl=queue_url, MessageBody="x", DelaySeconds=0)
        expect(f"a message through {queue}", [m["Body"] for m in sqs.receive_message(QueueUrl=queue_url).get("Messages", [])], ["x"])

dynamodb = client("dynamodb")
for table, ttl in {"batches": "e", "shards": "e", "payloads": "e", "messages": "e"}.items():
    description = dynamodb.describe_table(TableName=f"{name}-{table}")["Table"]
    expect(f"{table} is active", description["TableStatus"], "ACTIVE")
    found = dynamodb.describe_time_to_live(TableName=f"{name}-{table}")["TimeToLiveDescription"]
    expect(f"TTL of {table}", found.get("AttributeName") if found["TimeToLiveStatus"] == "ENABLED" else None, ttl)
    backups = dynamodb.describe_continuous_backups(TableName=f"{name}-{table}")["ContinuousBackupsDescription"]
    expect(f"{table} can be restored", backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"], "ENABLED")
    if table == "messages":
        expect("stream of messages", description["StreamSpecification"], {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"})
        expect("index of messages", [i["IndexName"] for i in description["GlobalSecondaryIndexes"]], ["by-due"])

ecs = client("ecs")
services = ecs.describe_services(cluster=name, services=["router", "scheduler", "emitter", "console"])["services"]
expect("services", sorted(s["serviceName"] for s in services), ["console", "emitter", "router", "scheduler"])
for service in services:
    task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    container = task["containerDefinitions"][0]
    expect(f"{service['serviceName']} runs its role", container["command"], ["run", service["serviceName"]])
    role = task["taskRoleArn"].rsplit("/", 1)[1]
    expect(f"{service['serviceName']} has a role of its own", role, f"{name}-{service['serviceName']}")

alarms = client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}-Delayq", MaxRecords=100)["MetricAlarms"]
expect("alarms tell their section of the runbook", all("RUNBOOK.md#delayq" in a["AlarmDescription"] for a in alarms) and len(alarms) > 20, True)
sys.exit(failed > 0)
