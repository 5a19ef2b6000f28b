output "alerts" {
  description = "Alarms by the name of their alert, as in deploy/dashboards/rules.yml."
  value       = { for key, a in aws_cloudwatch_metric_alarm.this : local.alarms[key].alert => a.arn... }
}

output "runbook_sections" {
  description = "The sections that the runbook needs."
  value       = distinct([for a in aws_cloudwatch_metric_alarm.this : a.alarm_description])
}
