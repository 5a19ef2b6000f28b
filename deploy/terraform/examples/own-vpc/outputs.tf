output "jobs" {
  description = "What `aws ecs run-task` needs for `delayq init`."
  value       = module.delayq.jobs
}

output "bootstrap_servers" {
  description = "The brokers, for producers and consumers."
  value       = module.kafka.connection.bootstrap_servers
}
