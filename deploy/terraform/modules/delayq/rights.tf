locals {
  # Topics that a target's records come out in; an allowed glob stays one, IAM reads `*` and `?` the same.
  output_topics = distinct(flatten([
    for target in var.topics.allow : [
      for priority in ["high", "standard", "low"] : replace(replace(var.topics.output, "{target}", target), "{priority}", priority)
    ]
  ]))
}

module "rights" {
  source = "../rights"

  name = var.name

  resources = merge(module.storage.queue_arns, module.storage.table_arns)

  kafka = var.kafka.auth != "iam" ? null : {
    cluster_arn = var.kafka.cluster_arn
    topics = {
      delay-topics      = var.topics.delay
      first-delay-topic = [var.topics.delay[0]]
      output-topics     = local.output_topics
      dead-letter-topic = [var.topics.dead_letter]
      canary-topic      = [var.topics.canary]
    }
    groups = {
      router-group       = [local.router_group]
      tail-group         = ["delayq-tail"]
      dead-letters-group = ["${local.router_group}-dead-letters"]
    }
  }

  data_key_arns        = local.data_key_arns
  repository_arns      = concat(var.image_repository_arns, module.registry[*].arn)
  log_group_arns       = { for role, group in aws_cloudwatch_log_group.this : role => group.arn }
  secret_arns          = local.secret_arns
  secrets_key_arns     = concat(local.data_key_arns, var.kafka.secret_key_arn[*], try(var.console_tokens.key_arns, []))
  permissions_boundary = var.permissions_boundary
}
