# The alerts of deploy/dashboards/rules.yml by the same names, and some that only AWS's own metrics can tell.
#
# delayq's metrics have dimensions (role, and the metric's labels), so most alarms are queries over all of them, which know tasks,
# shards and partitions that come later. A query knows no percentiles: lateness has an alarm for each path and priority.

locals {
  from = "FROM \"${var.metrics_namespace}\""

  # query: Metrics Insights. Above or below; for how many minutes; what no data means.
  queries = {
    DelayqCanaryOverdue = {
      "" = { query = "SELECT MAX(delayq_canary_overdue) ${local.from}", above = 0, minutes = 1, severity = "page" }
    }
    DelayqNobodyObserves = {
      "" = { query = "SELECT MAX(delayq_canary_overdue) ${local.from}", below = 0, minutes = 5, severity = "page", missing = "breaching" }
    }
    DelayqNotReady = {
      "" = { query = "SELECT MIN(delayq_component_ready) ${local.from}", below = 1, minutes = 2, severity = "page" }
    }
    DelayqShardBehind = {
      "" = { query = "SELECT MAX(delayq_scheduler_behind_ms) ${local.from}", above = 120000, minutes = 1, severity = "page" }
    }
    DelayqPartitionHeld = {
      "" = { query = "SELECT MAX(delayq_router_head_of_line_ms) ${local.from}", above = 180000, minutes = 1, severity = "page" }
    }
    DelayqRecordsOverdue = {
      "" = { query = "SELECT MAX(delayq_publish_oldest_overdue_ms) ${local.from}", above = 60000, minutes = 2, severity = "page" }
    }
    DelayqKafkaTakesNothing = {
      "" = { query = "SELECT MAX(delayq_breaker_open) ${local.from}", above = 0, minutes = 2, severity = "page" }
    }
    DelayqDeadLetters = {
      "" = { query = "SELECT SUM(delayq_dead_letters_total) ${local.from}", above = 0, minutes = 1, severity = "ticket" }
    }
    DelayqIntakePaused = {
      "" = { query = "SELECT MAX(delayq_router_paused) ${local.from}", above = 0, minutes = 10, severity = "ticket" }
    }
    DelayqLeasesLapsed = {
      "" = { query = "SELECT SUM(delayq_emitter_leases_lapsed_total) ${local.from}", above = 0, minutes = 1, severity = "ticket" }
    }
    DelayqShardLeasesLost = {
      "" = { query = "SELECT SUM(delayq_scheduler_leases_lost_total) ${local.from}", above = 0, minutes = 1, severity = "ticket" }
    }
    DelayqClockSkew = {
      ahead  = { query = "SELECT MAX(delayq_aws_clock_skew_ms) ${local.from}", above = 30000, minutes = 5, severity = "ticket" }
      behind = { query = "SELECT MIN(delayq_aws_clock_skew_ms) ${local.from}", below = -30000, minutes = 5, severity = "ticket" }
    }
  }

  needs_canaries = ["DelayqCanaryOverdue", "DelayqNobodyObserves"]

  late = {
    for way in setproduct([["direct", "router"], ["short", "emitter"], ["long", "emitter"]], ["high", "standard", "low"]) :
    "${way[0][0]}-${way[1]}" => { path = way[0][0], role = way[0][1], priority = way[1] }
  }

  # What Prometheus does not see.
  metrics = {
    DelayqDeadLetterQueues = {
      for priority, queue in var.dead_letter_queue_names : priority => {
        expression = "age", above = 900, minutes = 3, severity = "ticket"
        metrics    = { age = { namespace = "AWS/SQS", name = "ApproximateAgeOfOldestMessage", stat = "Maximum", dimensions = { QueueName = queue } } }
      }
    }
    DelayqThrottled = {
      for table, name in var.table_names : table => {
        expression = "SUM(METRICS())", above = 0, minutes = 10, severity = "ticket"
        metrics = merge([
          for id, dimensions in merge(
            { table = { TableName = name } },
            { for t, index in var.table_indexes : "index" => { TableName = name, GlobalSecondaryIndexName = index } if t == table },
          ) :
          {
            for direction in ["Read", "Write"] : "${id}_${lower(direction)}" => {
              namespace = "AWS/DynamoDB", name = "${direction}ThrottleEvents", stat = "Sum", dimensions = dimensions
            }
          }
        ]...)
      }
    }
    DelayqTasksMissing = {
      for role, least in var.services : role => {
        expression = "FILL(running, 0)", below = least, minutes = 5, severity = "page", missing = "breaching"
        metrics = {
          running = { namespace = "AWS/ECS", name = "CPUUtilization", stat = "SampleCount", dimensions = { ClusterName = var.cluster_name, ServiceName = role } }
        }
      } if least > 0
    }
  }

  alarms = merge(
    merge([
      for alert, variants in local.queries : {
        for variant, a in variants : (variant == "" ? alert : "${alert}-${variant}") => merge(a, { alert = alert, expression = a.query, metrics = {} })
      } if var.canaries || !contains(local.needs_canaries, alert)
    ]...),
    merge([
      for alert, variants in local.metrics : {
        for variant, a in variants : "${alert}-${variant}" => merge(a, { alert = alert, query = null })
      }
    ]...),
    {
      for variant, l in local.late : "DelayqLate-${variant}" => {
        alert = "DelayqLate", query = null, expression = "late", above = 100, minutes = 10, severity = "ticket"
        metrics = {
          late = {
            namespace  = var.metrics_namespace, name = "delayq_lateness_ms", stat = "p99"
            dimensions = { role = l.role, priority = l.priority, path = l.path }
          }
        }
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${var.runbook}#${lower(each.value.alert)}"
  comparison_operator = can(each.value.above) ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = try(each.value.above, each.value.below)
  evaluation_periods  = each.value.minutes
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = var.topics[each.value.severity]
  ok_actions          = var.topics[each.value.severity]

  tags = { severity = each.value.severity }

  # A query has a period of its own; an expression over metrics takes theirs; a metric alone is its own result.
  dynamic "metric_query" {
    for_each = contains(keys(each.value.metrics), each.value.expression) ? [] : [each.value.expression]

    content {
      id          = "result"
      expression  = metric_query.value
      period      = each.value.query == null ? null : 60
      return_data = true
    }
  }

  dynamic "metric_query" {
    for_each = each.value.metrics

    content {
      id          = metric_query.key
      return_data = metric_query.key == each.value.expression

      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        stat        = metric_query.value.stat
        period      = 60
      }
    }
  }
}
