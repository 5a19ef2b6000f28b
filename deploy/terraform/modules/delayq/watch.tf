module "alarms" {
  source = "../alarms"
  count  = var.metrics ? 1 : 0

  name                    = var.name
  metrics_namespace       = var.metrics_namespace
  topics                  = var.alarm_topics
  canaries                = local.canaries
  dead_letter_queue_names = { for p in ["high", "standard", "low"] : p => module.storage.queue_names["${p}-dead-letters"] }
  table_names             = module.storage.table_names
  table_indexes           = { messages = "by-due" }
  cluster_name            = aws_ecs_cluster.this.name
  services                = { for role, s in local.services : role => s.min }
  runbook                 = var.runbook
}

module "dashboard" {
  source = "../dashboard"
  count  = var.metrics ? 1 : 0

  name              = var.name
  metrics_namespace = var.metrics_namespace
  queue_names       = module.storage.queue_names
  table_names       = module.storage.table_names
  cluster_name      = aws_ecs_cluster.this.name
  services          = keys(local.services)
  alarm_arns        = flatten(values(module.alarms[0].alerts))
}
