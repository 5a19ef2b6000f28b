# What delayq does, in three columns. delayq's own metrics are found by search, so that what comes later shows as well.

data "aws_region" "current" {}

locals {
  ns = var.metrics_namespace

  # All series of a metric, summed over roles by a label: SEARCH gives one series for each set of dimensions.
  search = {
    for metric, stat in {
      delayq_router_records_total       = "Sum"
      delayq_published_total            = "Sum"
      delayq_dead_letters_total         = "Sum"
      delayq_publish_retries_total      = "Sum"
      delayq_router_routed_total        = "Sum"
      delayq_scheduler_behind_ms        = "Maximum"
      delayq_scheduler_watermark_age_ms = "Maximum"
      delayq_aws_throttled_total        = "Sum"
      delayq_kafka_lag_records          = "Sum"
      delayq_aws_cost_nanodollars_total = "Sum"
      delayq_component_ready            = "Minimum"
      delayq_canary_overdue             = "Maximum"
      delayq_emitter_held_bytes         = "Maximum"
      delayq_router_held_bytes          = "Maximum"
    } : metric => "SEARCH('Namespace=\"${local.ns}\" MetricName=\"${metric}\"', '${stat}', 60)"
  }

  priorities = ["high", "standard", "low"]

  late = {
    for priority in local.priorities : priority => [
      for series in setproduct([["router", "direct"], ["emitter", "short"], ["emitter", "long"]], ["p50", "p99", "p99.9"]) :
      [local.ns, "delayq_lateness_ms", "role", series[0][0], "priority", priority, "path", series[0][1], { stat = series[1], label = "${series[0][1]} ${series[1]}" }]
    ]
  }

  graphs = concat(
    [
      { title = "Accepted a minute", metrics = [[{ expression = local.search["delayq_router_records_total"], id = "e1" }]], stacked = true },
      { title = "Published a minute, by priority and path", metrics = [[{ expression = local.search["delayq_published_total"], id = "e1" }]], stacked = true },
      { title = "Routed a minute, by path", metrics = [[{ expression = local.search["delayq_router_routed_total"], id = "e1" }]], stacked = true },
    ],
    [for priority in local.priorities : { title = "Lateness, ${priority}, ms", metrics = local.late[priority], stacked = false }],
    [
      {
        title   = "Short tier: messages that are due, by priority"
        metrics = [for p in local.priorities : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.queue_names[p], { label = p, stat = "Maximum" }]]
        stacked = false
      },
      {
        title = "Short tier: messages that wait or are held"
        metrics = concat([for p in local.priorities : [
          ["AWS/SQS", "ApproximateNumberOfMessagesDelayed", "QueueName", var.queue_names[p], { label = "${p} waits", stat = "Maximum" }],
          ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", var.queue_names[p], { label = "${p} held", stat = "Maximum" }],
        ]]...)
        stacked = false
      },
      {
        title   = "Age of the oldest message, s (a delay counts in: up to 900 is no fault)"
        metrics = [for p in local.priorities : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", var.queue_names[p], { label = p, stat = "Maximum" }]]
        stacked = false
      },
      { title = "Shards: behind their lead, ms (0 is well; late at 420000)", metrics = [[{ expression = local.search["delayq_scheduler_behind_ms"], id = "e1" }]], stacked = false },
      { title = "Shards: age of the watermark, ms (below 0 is well)", metrics = [[{ expression = local.search["delayq_scheduler_watermark_age_ms"], id = "e1" }]], stacked = false },
      { title = "Not ready (0), by part", metrics = [[{ expression = local.search["delayq_component_ready"], id = "e1" }]], stacked = false },
      { title = "Retries a minute", metrics = [[{ expression = local.search["delayq_publish_retries_total"], id = "e1" }]], stacked = false },
      { title = "Dead letters a minute, by reason", metrics = [[{ expression = local.search["delayq_dead_letters_total"], id = "e1" }]], stacked = true },
      {
        title   = "Dead-letter queues"
        metrics = [for p in local.priorities : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.queue_names["${p}-dead-letters"], { label = p, stat = "Maximum" }]]
        stacked = false
      },
      {
        title = "Throttling by DynamoDB a minute"
        metrics = concat([for table, name in var.table_names : [
          ["AWS/DynamoDB", "ReadThrottleEvents", "TableName", name, { label = "${table} reads", stat = "Sum" }],
          ["AWS/DynamoDB", "WriteThrottleEvents", "TableName", name, { label = "${table} writes", stat = "Sum" }],
        ]]...)
        stacked = false
      },
      {
        title = "Capacity consumed a minute, units"
        metrics = concat([for table, name in var.table_names : [
          ["AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", name, { label = "${table} reads", stat = "Sum" }],
          ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", name, { label = "${table} writes", stat = "Sum" }],
        ]]...)
        stacked = false
      },
      { title = "Calls that AWS throttled a minute", metrics = [[{ expression = local.search["delayq_aws_throttled_total"], id = "e1" }]], stacked = false },
      {
        title = "SQS and DynamoDB, dollars per million records"
        metrics = [
          [{ expression = "SUM(${local.search["delayq_aws_cost_nanodollars_total"]}) / SUM(${local.search["delayq_published_total"]}) / 1000", id = "e1", label = "$ per million" }],
        ]
        stacked = false
      },
      {
        title = "SQS and DynamoDB, dollars a month at this rate"
        metrics = [
          [{ expression = "SUM(${local.search["delayq_aws_cost_nanodollars_total"]}) * 43200 / 1000000000", id = "e1", label = "$ a month" }],
        ]
        stacked = false
      },
      { title = "Memory of records held, bytes", metrics = [[{ expression = local.search["delayq_router_held_bytes"], id = "e1" }], [{ expression = local.search["delayq_emitter_held_bytes"], id = "e2" }]], stacked = false },
      {
        title   = "Tasks that run"
        metrics = [for s in var.services : ["AWS/ECS", "CPUUtilization", "ClusterName", var.cluster_name, "ServiceName", s, { label = s, stat = "SampleCount" }]]
        stacked = false
      },
      {
        title = "CPU and memory, %"
        metrics = concat([for s in var.services : [
          ["AWS/ECS", "CPUUtilization", "ClusterName", var.cluster_name, "ServiceName", s, { label = "${s} CPU", stat = "Average" }],
          ["AWS/ECS", "MemoryUtilization", "ClusterName", var.cluster_name, "ServiceName", s, { label = "${s} memory", stat = "Maximum" }],
        ]]...)
        stacked = false
      },
      { title = "Lag of the routers, records", metrics = [[{ expression = local.search["delayq_kafka_lag_records"], id = "e1" }]], stacked = true },
    ],
  )

  body = {
    widgets = concat(
      [{ type = "alarm", x = 0, y = 0, width = 24, height = 3, properties = { title = "Alarms", alarms = slice(var.alarm_arns, 0, min(100, length(var.alarm_arns))) } }],
      [
        for i, g in local.graphs : {
          type   = "metric"
          x      = (i % 3) * 8
          y      = 3 + floor(i / 3) * 6
          width  = 8
          height = 6
          properties = {
            title   = g.title
            region  = data.aws_region.current.name
            view    = "timeSeries"
            stacked = g.stacked
            period  = 60
            metrics = g.metrics
          }
        }
      ],
    )
  }
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode(local.body)
}
