# A role of delayq as an ECS service. A task that stops gets SIGTERM, has 120 s to drain, and loses and repeats nothing.

locals {
  strategies = {
    none       = [{ provider = "FARGATE", base = 0, weight = 1 }]
    beyond-min = [{ provider = "FARGATE", base = var.min, weight = 1 }, { provider = "FARGATE_SPOT", base = 0, weight = 4 }]
    all        = [{ provider = "FARGATE_SPOT", base = 0, weight = 1 }]
  }
}

resource "aws_ecs_service" "this" {
  name                               = var.role
  cluster                            = var.cluster.arn
  task_definition                    = var.task_definition_arn
  desired_count                      = var.min
  platform_version                   = "LATEST"
  enable_execute_command             = false
  enable_ecs_managed_tags            = true
  propagate_tags                     = "SERVICE"
  availability_zone_rebalancing      = "ENABLED"
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = var.load_balancer == null ? null : 60
  wait_for_steady_state              = var.wait_for_steady_state
  # Else another strategy (`min` is part of it) would replace the service, and stop all of it meanwhile.
  force_new_deployment = true

  dynamic "capacity_provider_strategy" {
    for_each = local.strategies[var.spot]

    content {
      capacity_provider = capacity_provider_strategy.value.provider
      base              = capacity_provider_strategy.value.base
      weight            = capacity_provider_strategy.value.weight
    }
  }

  network_configuration {
    subnets          = var.network.subnet_ids
    security_groups  = var.network.security_group_ids
    assign_public_ip = var.network.public_ip
  }

  # New tasks that do not become healthy: back to the version before.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  dynamic "load_balancer" {
    for_each = var.load_balancer[*]

    content {
      target_group_arn = load_balancer.value.target_group_arn
      container_name   = load_balancer.value.container
      container_port   = load_balancer.value.port
    }
  }

  lifecycle {
    # Autoscaling's.
    ignore_changes = [desired_count]
  }
}
