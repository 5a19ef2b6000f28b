# Scaling out is quick, scaling in slow and one task at a time: each stop is a rebalance or a put-back.

locals {
  scales            = var.max > var.min
  scale_out_seconds = 60
  scale_in_seconds  = 300

  # The tasks that run: ECS writes one sample of CPU a task and minute, which needs no Container Insights.
  running = {
    namespace  = "AWS/ECS"
    name       = "CPUUtilization"
    stat       = "SampleCount"
    dimensions = { ClusterName = var.cluster.name, ServiceName = var.role }
  }

  pressures = local.scales ? var.pressures : {}
  reliefs   = { for name, p in local.pressures : name => p if p.below != null }
}

resource "aws_appautoscaling_target" "this" {
  count = local.scales ? 1 : 0

  service_namespace  = "ecs"
  resource_id        = "service/${var.cluster.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.min
  max_capacity       = var.max
}

resource "aws_appautoscaling_policy" "cpu" {
  count = local.scales && var.cpu_target_percent != null ? 1 : 0

  name               = "${var.name}-${var.role}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this[0].service_namespace
  resource_id        = aws_appautoscaling_target.this[0].resource_id
  scalable_dimension = aws_appautoscaling_target.this[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.cpu_target_percent
    scale_out_cooldown = local.scale_out_seconds
    scale_in_cooldown  = local.scale_in_seconds

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

resource "aws_appautoscaling_policy" "backlog" {
  count = local.scales && var.backlog != null ? 1 : 0

  name               = "${var.name}-${var.role}-backlog"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this[0].service_namespace
  resource_id        = aws_appautoscaling_target.this[0].resource_id
  scalable_dimension = aws_appautoscaling_target.this[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.backlog.target
    scale_out_cooldown = local.scale_out_seconds
    scale_in_cooldown  = local.scale_in_seconds

    customized_metric_specification {
      dynamic "metrics" {
        for_each = merge({ for id, m in var.backlog.metrics : id => m }, var.backlog.of_a_task ? {} : { running = local.running })

        content {
          id          = metrics.key
          return_data = false

          metric_stat {
            stat = metrics.value.stat

            metric {
              namespace   = metrics.value.namespace
              metric_name = metrics.value.name

              dynamic "dimensions" {
                for_each = metrics.value.dimensions

                content {
                  name  = dimensions.key
                  value = dimensions.value
                }
              }
            }
          }
        }
      }

      metrics {
        id          = "per_task"
        label       = "Backlog for each ${var.role}"
        expression  = "(${join(" + ", [for id in sort(keys(var.backlog.metrics)) : "FILL(${id}, 0)"])})${var.backlog.of_a_task ? "" : " / FILL(running, 1)"}"
        return_data = true
      }
    }
  }
}

resource "aws_appautoscaling_policy" "more" {
  for_each = local.pressures

  name               = "${var.name}-${var.role}-${each.key}-more"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.this[0].service_namespace
  resource_id        = aws_appautoscaling_target.this[0].resource_id
  scalable_dimension = aws_appautoscaling_target.this[0].scalable_dimension

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    metric_aggregation_type = "Maximum"
    cooldown                = local.scale_out_seconds

    step_adjustment {
      metric_interval_lower_bound = "0"
      scaling_adjustment          = each.value.add
    }
  }
}

resource "aws_appautoscaling_policy" "fewer" {
  for_each = local.reliefs

  name               = "${var.name}-${var.role}-${each.key}-fewer"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.this[0].service_namespace
  resource_id        = aws_appautoscaling_target.this[0].resource_id
  scalable_dimension = aws_appautoscaling_target.this[0].scalable_dimension

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    metric_aggregation_type = "Maximum"
    cooldown                = local.scale_in_seconds

    step_adjustment {
      metric_interval_upper_bound = "0"
      scaling_adjustment          = -1
    }
  }
}

# Alarms that wake nobody: they only move the number of tasks.
resource "aws_cloudwatch_metric_alarm" "scaling" {
  for_each = merge(
    {
      for name, p in local.pressures : "${name}-more" => {
        pressure = p, operator = "GreaterThanThreshold", threshold = p.above, minutes = p.minutes
        action   = aws_appautoscaling_policy.more[name].arn
      }
    },
    {
      for name, p in local.reliefs : "${name}-fewer" => {
        pressure = p, operator = "LessThanThreshold", threshold = p.below, minutes = 15
        action   = aws_appautoscaling_policy.fewer[name].arn
      }
    },
  )

  alarm_name          = "${var.name}-${var.role}-${each.key}"
  alarm_description   = "Moves the number of ${var.role} tasks; nobody has to do anything."
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  evaluation_periods  = each.value.minutes
  treat_missing_data  = "notBreaching"
  alarm_actions       = [each.value.action]

  metric_query {
    id          = "pressure"
    expression  = each.value.pressure.expression
    period      = length(each.value.pressure.metrics) == 0 ? 60 : null
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.pressure.metrics

    content {
      id = metric_query.key

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
