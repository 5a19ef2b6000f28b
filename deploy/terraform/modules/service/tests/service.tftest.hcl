# Where tasks run, and what adds and takes away tasks.

mock_provider "aws" {
  override_during = plan

  mock_resource "aws_appautoscaling_policy" {
    defaults = { arn = "arn:aws:autoscaling:eu-central-1:123456789012:scalingPolicy:0:resource/ecs/service/delayq/emitter:policyName/mocked" }
  }
}

variables {
  name                = "delayq"
  role                = "emitter"
  cluster             = { name = "delayq", arn = "arn:aws:ecs:eu-central-1:123456789012:cluster/delayq" }
  task_definition_arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/delayq:1"
  network             = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"], public_ip = false }
  min                 = 2
  max                 = 10
  spot                = "beyond-min"
  cpu_target_percent  = 60

  backlog = {
    target = 20
    metrics = {
      high = { namespace = "AWS/SQS", name = "ApproximateNumberOfMessagesVisible", stat = "Average", dimensions = { QueueName = "delayq-high" } }
      low  = { namespace = "AWS/SQS", name = "ApproximateNumberOfMessagesVisible", stat = "Average", dimensions = { QueueName = "delayq-low" } }
    }
  }

  pressures = {
    overdue = { expression = "SELECT MAX(delayq_publish_oldest_overdue_ms) FROM \"delayq\"", above = 5000, minutes = 1, add = 2 }
    age = {
      expression = "MAX([high])", above = 960, below = 100
      metrics    = { high = { namespace = "AWS/SQS", name = "ApproximateAgeOfOldestMessage", stat = "Maximum", dimensions = { QueueName = "delayq-high" } } }
    }
  }
}

run "scales" {
  command = plan

  assert {
    condition     = { for s in aws_ecs_service.this.capacity_provider_strategy : s.capacity_provider => [s.base, s.weight] } == { FARGATE = [2, 1], FARGATE_SPOT = [0, 4] }
    error_message = "The least number of tasks is on demand, most of the others Spot."
  }

  assert {
    condition     = aws_ecs_service.this.force_new_deployment
    error_message = "Without it, another number of tasks on demand would replace the service."
  }

  assert {
    condition     = aws_ecs_service.this.deployment_circuit_breaker[0].rollback && aws_ecs_service.this.deployment_minimum_healthy_percent == 100
    error_message = "A deployment keeps all tasks until the new ones are healthy, and goes back if they are not."
  }

  assert {
    condition     = [for m in aws_appautoscaling_policy.backlog[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : m.expression if m.return_data] == ["(FILL(high, 0) + FILL(low, 0)) / FILL(running, 1)"]
    error_message = "The backlog is that of all queues, for each task."
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.scaling)) == toset(["overdue-more", "age-more", "age-fewer"]) && one(aws_appautoscaling_policy.more["overdue"].step_scaling_policy_configuration[0].step_adjustment).scaling_adjustment == 2
    error_message = "Each pressure adds tasks, and takes some away if it says so."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.scaling["age-fewer"].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.scaling["age-fewer"].threshold == 100 && aws_cloudwatch_metric_alarm.scaling["age-fewer"].evaluation_periods == 15
    error_message = "Fewer tasks only after a quarter of an hour of calm."
  }
}

run "backlog_of_a_task" {
  command = plan

  variables {
    backlog = { target = 50000, of_a_task = true, metrics = { lag0 = { namespace = "delayq", name = "delayq_kafka_lag_records", stat = "Average", dimensions = { role = "router", topic = "delayq.delay" } } } }
  }

  assert {
    condition     = [for m in aws_appautoscaling_policy.backlog[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : m.expression if m.return_data] == ["(FILL(lag0, 0))"]
    error_message = "An average of tasks is not divided again."
  }
}

run "fixed" {
  command = plan

  variables {
    max  = 2
    spot = "none"
  }

  assert {
    condition     = length(aws_appautoscaling_target.this) == 0 && length(aws_cloudwatch_metric_alarm.scaling) == 0 && [for s in aws_ecs_service.this.capacity_provider_strategy : s.capacity_provider] == ["FARGATE"]
    error_message = "With one number of tasks nothing scales."
  }
}

run "refuses_fewer_than_min" {
  command = plan

  variables {
    max = 1
  }

  expect_failures = [var.max]
}
