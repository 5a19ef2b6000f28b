# Alarms are the alerts of deploy/dashboards/rules.yml, and name their runbook sections.

mock_provider "aws" {
  override_during = plan
}

variables {
  name                    = "delayq"
  metrics_namespace       = "delayq"
  topics                  = { page = ["arn:aws:sns:eu-central-1:123456789012:page"], ticket = ["arn:aws:sns:eu-central-1:123456789012:ticket"] }
  canaries                = true
  dead_letter_queue_names = { high = "delayq-high-dead-letters", standard = "delayq-standard-dead-letters", low = "delayq-low-dead-letters" }
  table_names             = { batches = "delayq-batches", messages = "delayq-messages" }
  table_indexes           = { messages = "by-due" }
  cluster_name            = "delayq"
  services                = { router = 2, console = 0 }
}

run "documents" {
  command = plan

  module {
    source = "../delayq/tests/documents"
  }
}

run "as_the_rules" {
  command = plan

  assert {
    condition     = length(setsubtract(run.documents.alerts, keys(output.alerts))) == 0
    error_message = "An alert of rules.yml has no alarm."
  }

  assert {
    condition     = alltrue([for key, a in local.alarms : a.severity == run.documents.severities[a.alert] if contains(keys(run.documents.severities), a.alert)])
    error_message = "An alarm has another severity than its alert in rules.yml."
  }

  assert {
    condition     = alltrue([for key, a in aws_cloudwatch_metric_alarm.this : a.alarm_actions == toset(var.topics[a.tags.severity])])
    error_message = "A severity tells its own topic."
  }

  assert {
    condition     = alltrue([for key, a in aws_cloudwatch_metric_alarm.this : a.alarm_description == "deploy/RUNBOOK.md#${lower(local.alarms[key].alert)}"])
    error_message = "An alarm's description is the section of the runbook."
  }

  assert {
    condition     = length(setsubtract(distinct(flatten([for a in values(local.alarms) : regexall("delayq_[a-z_0-9]+", "${jsonencode(a.metrics)} ${a.query == null ? "" : a.query}")])), run.documents.metrics)) == 0
    error_message = "An alarm is about a metric that delayq does not have."
  }

  # CloudWatch takes exactly one result, and ids that begin in lower case.
  assert {
    condition     = alltrue([for a in values(aws_cloudwatch_metric_alarm.this) : length([for q in a.metric_query : q if coalesce(q.return_data, false)]) == 1 && alltrue([for q in a.metric_query : can(regex("^[a-z][A-Za-z0-9_]*$", q.id))])])
    error_message = "An alarm has one metric query that returns data."
  }

  assert {
    condition     = alltrue([for a in values(aws_cloudwatch_metric_alarm.this) : length([for q in a.metric_query : q if try(startswith(q.expression, "SELECT"), false) && q.period != 60]) == 0])
    error_message = "A query over all metrics has a period of its own."
  }

  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.this), "DelayqTasksMissing-console") && aws_cloudwatch_metric_alarm.this["DelayqTasksMissing-router"].threshold == 2
    error_message = "Missing tasks are an alarm where there have to be any."
  }

  assert {
    condition     = length([for q in aws_cloudwatch_metric_alarm.this["DelayqThrottled-messages"].metric_query : q]) == 5
    error_message = "The index of messages is throttled on its own."
  }
}
