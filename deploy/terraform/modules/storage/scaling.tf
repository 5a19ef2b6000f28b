# Autoscaling of the tables, and of their indexes, that have provisioned capacity.

locals {
  scaled = merge([
    for table, c in var.capacity : merge([
      for dimension, range in {
        Read  = { min = c.read_min, max = c.read_max }
        Write = { min = c.write_min, max = c.write_max }
        } : merge(
        {
          "${table}-${lower(dimension)}" = {
            resource  = "table/${var.name}-${table}"
            dimension = "dynamodb:table:${dimension}CapacityUnits"
            metric    = "DynamoDB${dimension}CapacityUtilization"
            min       = range.min
            max       = range.max
            target    = c.target_percent
          }
        },
        {
          for index in keys(local.tables[table].indexes) : "${table}-${index}-${lower(dimension)}" => {
            resource  = "table/${var.name}-${table}/index/${index}"
            dimension = "dynamodb:index:${dimension}CapacityUnits"
            metric    = "DynamoDB${dimension}CapacityUtilization"
            min       = range.min
            max       = range.max
            target    = c.target_percent
          }
        },
      )
    ]...)
  ]...)
}

resource "aws_appautoscaling_target" "capacity" {
  for_each = local.scaled

  service_namespace  = "dynamodb"
  resource_id        = each.value.resource
  scalable_dimension = each.value.dimension
  min_capacity       = each.value.min
  max_capacity       = each.value.max

  depends_on = [aws_dynamodb_table.this]
}

resource "aws_appautoscaling_policy" "capacity" {
  for_each = local.scaled

  name               = "${var.name}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.capacity[each.key].service_namespace
  resource_id        = aws_appautoscaling_target.capacity[each.key].resource_id
  scalable_dimension = aws_appautoscaling_target.capacity[each.key].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = each.value.target

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
    }
  }
}
