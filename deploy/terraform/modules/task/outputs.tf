output "arn" {
  description = "The task definition, this revision."
  value       = aws_ecs_task_definition.this.arn
}

output "family" {
  description = "The task definition, whatever revision."
  value       = aws_ecs_task_definition.this.family
}

output "container_definitions" {
  description = "Its containers as JSON, for tests."
  value       = aws_ecs_task_definition.this.container_definitions
}
