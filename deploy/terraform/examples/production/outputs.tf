output "jobs" {
  description = "What `aws ecs run-task` needs for `delayq init`."
  value       = module.delayq.jobs
}

output "console_alias" {
  description = "Name and hosted zone of the console's load balancer, for an alias."
  value       = module.delayq.console_alias
}

output "console_tokens_secret" {
  description = "The secret with the console's tokens."
  value       = one(module.tokens[*].secret.secret_arn)
}
