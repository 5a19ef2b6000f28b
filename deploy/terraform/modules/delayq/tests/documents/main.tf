# What the project's own documents say, to compare with.

locals {
  root = "${path.module}/../../../../../.."

  # A section begins with "## `[name]`", a field is the first cell of a row.
  sections = [for part in split("\n## `[", file("${local.root}/docs/configuration.md")) : part if can(regex("^[a-z]+\\]", part))]
  fields   = { for part in local.sections : regex("^([a-z]+)\\]", part)[0] => [for f in regexall("\n\\| `([a-z_.]+)` \\|", part) : replace(f[0], ".", "__")] }

  rules = yamldecode(file("${local.root}/deploy/dashboards/rules.yml"))
}

output "variables" {
  description = "Environment variables that delayq knows."
  value       = concat(flatten([for section, fields in local.fields : [for f in fields : "DELAYQ_${upper(section)}__${upper(f)}"]]), ["DELAYQ_CONFIG"])
}

output "alerts" {
  description = "Alerts of deploy/dashboards/rules.yml."
  value       = toset([for rule in local.rules.groups[0].rules : rule.alert])
}

output "severities" {
  description = "Their severities."
  value       = { for rule in local.rules.groups[0].rules : rule.alert => rule.labels.severity }
}

output "metrics" {
  description = "Metrics that go to CloudWatch by default (`metrics.emf_metrics`)."
  value       = toset([for m in regexall("\"(delayq_[a-z_0-9]+)\"", regex("(?s)const NAMES[^;]*;[^;]*;", file("${local.root}/services/runtime/src/config/metrics.rs"))) : m[0]])
}

output "rights" {
  description = "rights.json."
  value       = jsondecode(file("${path.module}/../../../rights/rights.json"))
}
