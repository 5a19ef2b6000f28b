# Not caught by the provider, nor by an emulator: a pair of CPU and memory that Fargate does not have, a misspelt key in the container's JSON.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
}

variables {
  name               = "delayq"
  role               = "router"
  image              = "registry.example/delayq:1"
  command            = ["run", "router"]
  health_command     = ["CMD", "/usr/local/bin/delayq", "health", "--live"]
  cpu                = 256
  memory             = 512
  environment        = { B = "2", A = "1" }
  secrets            = { S = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:s:key::" }
  ports              = { http = 8080 }
  task_role_arn      = "arn:aws:iam::123456789012:role/task"
  execution_role_arn = "arn:aws:iam::123456789012:role/execution"
  log_group          = "/delayq/router"
}

run "container" {
  command = plan

  assert {
    condition = length(jsondecode(aws_ecs_task_definition.this.container_definitions)) == 1 && toset(keys(jsondecode(aws_ecs_task_definition.this.container_definitions)[0])) == toset([
      "name", "image", "essential", "command", "user", "readonlyRootFilesystem", "privileged", "stopTimeout", "linuxParameters", "ulimits",
      "environment", "secrets", "portMappings", "logConfiguration", "healthCheck",
    ])
    error_message = "The container has keys of ECS's ContainerDefinition that are meant, and no others."
  }

  assert {
    condition     = toset(flatten([for k in ["linuxParameters", "logConfiguration", "healthCheck"] : keys(jsondecode(aws_ecs_task_definition.this.container_definitions)[0][k])])) == toset(["capabilities", "initProcessEnabled", "logDriver", "options", "command", "interval", "timeout", "retries", "startPeriod"])
    error_message = "The container's objects have keys that ECS knows."
  }

  assert {
    condition     = toset(keys(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].portMappings[0])) == toset(["name", "containerPort", "hostPort", "protocol", "appProtocol"])
    error_message = "A port mapping has keys that ECS knows."
  }

  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].user == "10001"
      && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].readonlyRootFilesystem
      && !jsondecode(aws_ecs_task_definition.this.container_definitions)[0].privileged
      && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].linuxParameters.capabilities.drop == ["ALL"]
      && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout == 120
    )
    error_message = "delayq runs as user 10001, writes nowhere, has no capabilities, and 120 s to stop."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment == [{ name = "A", value = "1" }, { name = "B", value = "2" }]
    error_message = "Environment variables are in order, so that a plan shows no change where there is none."
  }

  assert {
    condition     = one(aws_ecs_task_definition.this.runtime_platform[*].cpu_architecture) == "ARM64" && aws_ecs_task_definition.this.network_mode == "awsvpc" && aws_ecs_task_definition.this.requires_compatibilities == toset(["FARGATE"])
    error_message = "Tasks run on Fargate, arm64."
  }
}

run "no_health_command" {
  command = plan

  variables {
    health_command = []
  }

  assert {
    condition     = !contains(keys(jsondecode(aws_ecs_task_definition.this.container_definitions)[0]), "healthCheck")
    error_message = "Without a command there is no health check."
  }
}

run "fargate_has_8_gib_with_1_vcpu" {
  command = plan

  variables {
    cpu    = 1024
    memory = 8192
  }

  assert {
    condition     = aws_ecs_task_definition.this.cpu == "1024" && aws_ecs_task_definition.this.memory == "8192"
    error_message = "1 vCPU goes with 8 GiB."
  }
}

run "fargate_has_no_4_gib_with_a_quarter_vcpu" {
  command = plan

  variables {
    memory = 4096
  }

  expect_failures = [var.memory]
}

run "fargate_has_no_1_5_gib" {
  command = plan

  variables {
    cpu    = 512
    memory = 1536
  }

  expect_failures = [var.memory]
}

run "fargate_has_no_300_units" {
  command = plan

  variables {
    cpu = 300
  }

  expect_failures = [var.memory]
}

run "fargate_stops_within_120_s" {
  command = plan

  variables {
    stop_timeout = 121
  }

  expect_failures = [var.stop_timeout]
}
