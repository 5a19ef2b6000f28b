# What the project's own documents say, to compare with.

locals {
  root = "${path.module}/../../../../../.."

  # A section begins with "## `[name]`", a field is the first cell of a row.
  sections = [for part in split("\n## `[", file("${local.root}/docs/configuration.md")) : part if can(regex("^[a-z]+\\]", part))]
  fields   = { for part in local.sections : regex("^([a-z]+)\\]", part)[0] => [for f in regexall("\n\\| `([a-z_.]+)` \\|", part) : replace(f[0], ".", "__")] }

  # In the code of the same change, and in docs/configuration.md from then on.
  coming = [
    "DELAYQ_METRICS__EMF",
    "DELAYQ_METRICS__EMF_NAMESPACE",
    "DELAYQ_CONSOLE__OIDC__ISSUER",
    "DELAYQ_CONSOLE__OIDC__CLIENT_ID",
    "DELAYQ_CONSOLE__OIDC__OPERATORS",
    "DELAYQ_CONSOLE__OIDC__VIEWERS",
    "DELAYQ_CONSOLE__OIDC__ROLES_CLAIM",
    "DELAYQ_CONSOLE__OIDC__ALB",
  ]

  rules = yamldecode(file("${local.root}/deploy/dashboards/rules.yml"))
}

output "variables" {
  description = "Environment variables that delayq knows."
  value       = concat(flatten([for section, fields in local.fields : [for f in fields : "DELAYQ_${upper(section)}__${upper(f)}"]]), ["DELAYQ_CONFIG"], local.coming)
}

output "alerts" {
  description = "Alerts of deploy/dashboards/rules.yml."
  value       = toset([for rule in local.rules.groups[0].rules : rule.alert])
}

output "severities" {
  description = "Their severities."
  value       = { for rule in local.rules.groups[0].rules : rule.alert => rule.labels.severity }
}

locals {
  # `metrics.emf_metrics`: what goes to CloudWatch by default.
  sent = "${local.root}/services/runtime/src/config/metrics.rs"
}

output "metrics" {
  description = "Names of delayq's metrics that go to CloudWatch, as they stand in its sources; before there is such a list, all of them, and two to come."
  value = toset(fileexists(local.sent) ? [for m in regexall("\"(delayq_[a-z_0-9]+)\"", regex("(?s)const NAMES[^;]*;[^;]*;", file(local.sent))) : m[0]] : concat(
    flatten([
      for source in fileset(local.root, "{services,scheduler}/**/src/**/*.rs") : [for m in regexall("\"(delayq_[a-z_0-9]+)\"", file("${local.root}/${source}")) : m[0]]
    ]),
    ["delayq_kafka_lag_records", "delayq_aws_throttled_total"],
  ))
}

output "rights" {
  description = "rights.json."
  value       = jsondecode(file("${path.module}/../../../rights/rights.json"))
}
