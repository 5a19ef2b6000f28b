"""Reads a plan as JSON from stdin: what it would change though nothing differs, but for what moto forgets. A line a resource; exit code 1 if any."""

import json
import sys

# moto forgets the descriptions of rules that name another group, and fields of services that are younger than it; what names a service follows it.
FORGETS = {"aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule", "aws_ecs_service", "aws_appautoscaling_target", "aws_appautoscaling_policy"}


def meaning(value):
    """The same for JSON with other spaces, as moto gives it back."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in "{[" else value
    except ValueError:
        return value


bad = []
for resource in json.load(sys.stdin)["resource_changes"]:
    change = resource["change"]
    if change["actions"] in (["no-op"], ["read"]) or resource["type"] in FORGETS or ".aws_cloudwatch_metric_alarm.scaling" in resource["address"]:
        continue
    before, after = change["before"] or {}, change["after"] or {}
    different = sorted(k for k in {*before, *after} if meaning(before.get(k)) != meaning(after.get(k)))
    if different:
        bad.append(f"{resource['address']}: {', '.join(different)}")
print("\n".join(bad) or "no difference")
sys.exit(bool(bad))
