"""The PromQL of the runbook, as rules that promtool can check: python3 runbook.py RUNBOOK.md"""

import json
import re
import sys

PROMQL = re.compile(r"(sum|min|max|count|topk|floor|histogram_quantile|up)( by)? ?[({]")

with open(sys.argv[1], encoding="utf-8") as file:
    blocks = re.findall(r"^ {4,}(\S.*)$", file.read(), re.MULTILINE)
queries = [line for line in blocks if PROMQL.match(line)]
# A pattern that finds next to nothing would pass.
if len(queries) < 30:
    sys.exit(f"{len(queries)} expressions in {sys.argv[1]}: are they no longer indented by four?")
rules = [{"record": f"runbook:{number}", "expr": query} for number, query in enumerate(queries)]
print(json.dumps({"groups": [{"name": "runbook", "rules": rules}]}))
