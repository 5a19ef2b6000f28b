"""Lints rights.json by AWS's list of actions: misspelt ones, and actions that do not go with their resource. Prints a line a finding; exit code 1 if any."""

import json
import sys

from parliament import analyze_policy_string

ACCOUNT = "eu-central-1:123456789012"
ARNS = {
    "queues": f"arn:aws:sqs:{ACCOUNT}:delayq-high",
    "dead-letter-queues": f"arn:aws:sqs:{ACCOUNT}:delayq-high-dead-letters",
    "ticks": f"arn:aws:sqs:{ACCOUNT}:delayq-ticks.fifo",
    **{t: f"arn:aws:dynamodb:{ACCOUNT}:table/delayq-{t}" for t in ("batches", "shards", "payloads", "messages")},
    "messages-index": f"arn:aws:dynamodb:{ACCOUNT}:table/delayq-messages/index/by-due",
    "messages-stream": f"arn:aws:dynamodb:{ACCOUNT}:table/delayq-messages/stream/*",
    "cluster": f"arn:aws:kafka:{ACCOUNT}:cluster/example/0-1",
    **{t: f"arn:aws:kafka:{ACCOUNT}:topic/example/0-1/{t}" for t in ("delay-topics", "first-delay-topic", "output-topics", "dead-letter-topic", "canary-topic")},
    **{g: f"arn:aws:kafka:{ACCOUNT}:group/example/0-1/{g}" for g in ("router-group", "tail-group", "dead-letters-group")},
    "data-key": f"arn:aws:kms:{ACCOUNT}:key/0",
    "secrets-keys": f"arn:aws:kms:{ACCOUNT}:key/1",
    "repository": f"arn:aws:ecr:{ACCOUNT}:repository/delayq",
    "log-group": f"arn:aws:logs:{ACCOUNT}:log-group:/delayq/router:log-stream:router/1",
    "secrets": f"arn:aws:secretsmanager:{ACCOUNT}:secret:delayq-AbCdEf",
    "any": "*",
}

rights = json.load(open(sys.argv[1], encoding="utf-8"))
statements = {}
for role, r in rights["roles"].items():
    for i, s in enumerate(r["aws"] + r["kafka"]):
        statements[f"{role} {i}"] = (s["actions"], s["on"])
for kind in ("task", "execution"):
    for i, s in enumerate(rights["made_by_aws"][kind]):
        statements[f"made by AWS, {kind} {i}"] = (s["actions"], [s["on"]])

bad = 0
for where, (actions, on) in statements.items():
    unknown = [kind for kind in on if kind not in ARNS]
    findings = [f"unknown resource {kind}" for kind in unknown]
    for action in actions:
        for kind in on:
            if kind in unknown:
                continue
            policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [action], "Resource": [ARNS[kind]]}]}
            result = analyze_policy_string(json.dumps(policy))
            # What is about exploits of broad rights, and not about mistakes, is checkov's.
            findings += [f"{action} on {kind}: {f.issue} {f.detail or ''}" for f in result.findings if f.issue not in ("RESOURCE_STAR", "PRIVILEGE_ESCALATION")]
    for finding in findings:
        print(f"{where}: {finding}")
    bad += bool(findings)
print(f"{len(statements)} statements, {bad} with findings")
sys.exit(bad > 0)
