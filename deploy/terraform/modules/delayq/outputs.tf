output "prefix" {
  description = "`aws.prefix` of delayq's configuration (DELAYQ_AWS__PREFIX)."
  value       = module.storage.prefix
}

output "queue_names" {
  description = "Names of the queues, by what they are for."
  value       = module.storage.queue_names
}

output "table_names" {
  description = "Names of the tables, by what they hold."
  value       = module.storage.table_names
}

output "environment" {
  description = "delayq's configuration as all roles have it, for a run elsewhere; secrets are not in it."
  value       = local.environment
}

output "console_url" {
  description = "The console at the load balancer's own name; give its host name, which the certificate is for, an alias to it."
  value       = var.console == null ? null : "https://${module.console[0].dns_name}"
}

output "console_alias" {
  description = "Name and hosted zone for this alias."
  value       = var.console == null ? null : { name = module.console[0].dns_name, zone_id = module.console[0].zone_id }
}

output "registry_url" {
  description = "What image names begin with, if there is a registry here."
  value       = one(module.registry[*].url)
}

output "cluster_name" {
  description = "The ECS cluster."
  value       = aws_ecs_cluster.this.name
}

output "jobs" {
  description = "What `aws ecs run-task` needs for `delayq init` and `delayq dead-letters`: see README.md."
  value = {
    cluster          = aws_ecs_cluster.this.name
    task_definitions = { for role in keys(local.jobs) : role => module.task[role].family }
    network          = local.service_network["init"]
  }
}

output "policies" {
  description = "The policy of each role as JSON."
  value       = module.rights.policies
}

output "container_definitions" {
  description = "The containers of each role as JSON."
  value       = { for role, t in module.task : role => t.container_definitions }
}

output "dashboard" {
  description = "The dashboard's body as JSON; null without metrics."
  value       = one(module.dashboard[*].body)
}

output "alerts" {
  description = "ARNs of the alarms, by alert."
  value       = try(module.alarms[0].alerts, {})
}
