resource "aws_ecs_cluster" "this" {
  # checkov:skip=CKV_AWS_65:see containerInsights below
  name = var.name

  # delayq's metrics and ECS's own say enough; Container Insights costs $0.30 a metric and month.
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_338:how long is the variable's to say: these are working logs, and a year of them costs more than it tells
  for_each = toset(local.roles)

  name              = "/delayq/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.logs_key_arn
}

locals {
  tasks = merge(
    { for role, s in local.services : role => { command = ["run", role], cpu = s.cpu, memory = s.memory, health = var.health_command } },
    { for role, job in local.jobs : role => { command = job.command, cpu = 256, memory = 512, health = [] } },
  )
}

module "task" {
  source   = "../task"
  for_each = local.tasks

  name               = var.name
  role               = each.key
  image              = var.image
  command            = each.value.command
  health_command     = each.value.health
  cpu                = each.value.cpu
  memory             = each.value.memory
  environment        = merge(local.environment, each.key == "console" ? local.console_environment : {})
  secrets            = local.secrets[each.key]
  ports              = each.key == "console" ? local.ports : contains(keys(local.jobs), each.key) ? {} : { http = local.ports.http }
  task_role_arn      = module.rights.task_role_arns[each.key]
  execution_role_arn = module.rights.execution_role_arns[each.key]
  log_group          = aws_cloudwatch_log_group.this[each.key].name
}

locals {
  # A backlog is what is due and waits: messages with a delay are not visible before.
  queue_metric = {
    for metric, stat in { ApproximateNumberOfMessagesVisible = "Average", ApproximateAgeOfOldestMessage = "Maximum" } : metric => {
      for priority in ["high", "standard", "low"] : priority => {
        namespace  = "AWS/SQS"
        name       = metric
        stat       = stat
        dimensions = { QueueName = module.storage.queue_names[priority] }
      }
    }
  }

  # Each router tells the lag of the partitions that it has; MSK that of the group.
  own_lag_metrics = {
    for i, topic in var.topics.delay : "lag${i}" => {
      namespace  = var.metrics_namespace
      name       = "delayq_kafka_lag_records"
      stat       = "Average"
      dimensions = { role = "router", topic = topic }
    }
  }

  msk_lag_metrics = {
    for i, topic in var.topics.delay : "lag${i}" => {
      namespace  = "AWS/Kafka"
      name       = "SumOffsetLag"
      stat       = "Maximum"
      dimensions = { "Cluster Name" = coalesce(var.kafka.cluster_name, "unknown"), "Consumer Group" = local.router_group, "Topic" = topic }
    }
  }

  from = "FROM \"${var.metrics_namespace}\""

  scaling = {
    router = {
      cpu_target_percent = 60
      backlog = !var.metrics && var.kafka.cluster_name == null ? null : {
        target    = 50000
        of_a_task = var.metrics
        metrics   = var.metrics ? local.own_lag_metrics : local.msk_lag_metrics
      }
      pressures = {}
    }

    # Behind: the lead (7 min) less a minute or so, as the watermark's age is seen before a bucket of 5 min is due.
    scheduler = {
      cpu_target_percent = null
      backlog            = null
      pressures = !var.metrics ? {} : {
        watermark = {
          expression = "SELECT MAX(delayq_scheduler_watermark_age_ms) ${local.from}"
          above      = -330000
          below      = -380000
        }
      }
    }

    emitter = {
      cpu_target_percent = 60
      backlog            = { target = 20, of_a_task = false, metrics = local.queue_metric["ApproximateNumberOfMessagesVisible"] }
      pressures = merge(
        {
          # SQS counts from the send, and a message may ask for 900 s of delay: what is older is late.
          age = {
            expression = "MAX([${join(", ", sort(keys(local.queue_metric["ApproximateAgeOfOldestMessage"])))}])"
            metrics    = local.queue_metric["ApproximateAgeOfOldestMessage"]
            above      = 960
          }
        },
        !var.metrics ? {} : {
          overdue = {
            expression = "SELECT MAX(delayq_publish_oldest_overdue_ms) ${local.from}"
            above      = 5000
            minutes    = 1
            add        = 2
          }
        },
      )
    }

    console = {
      cpu_target_percent = 60
      backlog            = null
      pressures          = {}
    }
  }

  cluster = { name = aws_ecs_cluster.this.name, arn = aws_ecs_cluster.this.arn }

  service_network = {
    for role in local.roles : role => {
      subnet_ids = local.network.task_subnet_ids
      public_ip  = local.network.public_ip
      security_group_ids = concat(
        [aws_security_group.this["tasks"].id],
        role == "scheduler" ? [] : [aws_security_group.this["kafka"].id],
        role == "console" ? [aws_security_group.this["console"].id] : [],
      )
    }
  }
}

# One call a role, because they are upgraded in this order: who reads must know what is written.

module "emitter" {
  source = "../service"

  name                  = var.name
  role                  = "emitter"
  cluster               = local.cluster
  task_definition_arn   = module.task["emitter"].arn
  network               = local.service_network["emitter"]
  min                   = var.services.emitter.min
  max                   = var.services.emitter.max
  spot                  = var.services.emitter.spot
  cpu_target_percent    = local.scaling.emitter.cpu_target_percent
  backlog               = local.scaling.emitter.backlog
  pressures             = local.scaling.emitter.pressures
  wait_for_steady_state = var.wait_for_steady_state

  depends_on = [aws_ecs_cluster_capacity_providers.this, module.endpoints]
}

module "scheduler" {
  source = "../service"

  name                  = var.name
  role                  = "scheduler"
  cluster               = local.cluster
  task_definition_arn   = module.task["scheduler"].arn
  network               = local.service_network["scheduler"]
  min                   = var.services.scheduler.min
  max                   = var.services.scheduler.max
  spot                  = var.services.scheduler.spot
  cpu_target_percent    = local.scaling.scheduler.cpu_target_percent
  backlog               = local.scaling.scheduler.backlog
  pressures             = local.scaling.scheduler.pressures
  wait_for_steady_state = var.wait_for_steady_state

  depends_on = [module.emitter]
}

module "router" {
  source = "../service"

  name                  = var.name
  role                  = "router"
  cluster               = local.cluster
  task_definition_arn   = module.task["router"].arn
  network               = local.service_network["router"]
  min                   = var.services.router.min
  max                   = var.services.router.max
  spot                  = var.services.router.spot
  cpu_target_percent    = local.scaling.router.cpu_target_percent
  backlog               = local.scaling.router.backlog
  pressures             = local.scaling.router.pressures
  wait_for_steady_state = var.wait_for_steady_state

  depends_on = [module.scheduler]
}
