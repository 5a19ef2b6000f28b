output "registry_url" {
  description = "Where to push the image."
  value       = module.delayq.registry_url
}

output "jobs" {
  description = "What `aws ecs run-task` needs for `delayq init`."
  value       = module.delayq.jobs
}
