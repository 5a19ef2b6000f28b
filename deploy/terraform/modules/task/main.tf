# One container, delayq, as an unprivileged user with a root file system that cannot be written to.

data "aws_region" "current" {}

locals {
  container = {
    name      = var.role
    image     = var.image
    essential = true

    command                = var.command
    user                   = "10001"
    readonlyRootFilesystem = true
    privileged             = false
    stopTimeout            = var.stop_timeout

    linuxParameters = {
      # Nothing that delayq does takes a capability; the init process passes SIGTERM on.
      capabilities       = { add = [], drop = ["ALL"] }
      initProcessEnabled = true
    }

    ulimits = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]

    environment = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
    secrets     = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]

    portMappings = [
      for name in sort(keys(var.ports)) : { name = name, containerPort = var.ports[name], hostPort = var.ports[name], protocol = "tcp", appProtocol = "http" }
    ]

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = var.log_group
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = var.role
        # delayq must not wait for its log. What does not fit the buffer is lost, which only happens while CloudWatch is away.
        mode            = "non-blocking"
        max-buffer-size = "16m"
      }
    }
  }

  health_check = {
    healthCheck = {
      command = var.health_command
      # ECS replaces what is unhealthy: so the command asks /livez. /readyz is false while Kafka or a queue is away as well, which that does not mend.
      interval    = 30
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = "${var.name}-${var.role}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = var.task_role_arn
  execution_role_arn       = var.execution_role_arn

  # merge() with both, so that the container has no empty healthCheck.
  container_definitions = jsonencode([merge(local.container, { for k, v in local.health_check : k => v if length(var.health_command) > 0 })])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "ARM64"
  }
}
