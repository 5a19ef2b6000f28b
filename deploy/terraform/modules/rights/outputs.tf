output "task_role_arns" {
  description = "The role that each role of delayq runs as. Depends on its policy: whoever uses it can be sure of its rights."
  value       = { for role, r in aws_iam_role.task : role => r.arn }
  depends_on  = [aws_iam_role_policy.task]
}

output "execution_role_arns" {
  description = "The role with which ECS starts each role of delayq."
  value       = { for role, r in aws_iam_role.execution : role => r.arn }
  depends_on  = [aws_iam_role_policy.execution]
}

output "policies" {
  description = "The policy of each role as JSON, for tests and reviews."
  value       = { for role, p in aws_iam_role_policy.task : role => p.policy }
}

output "execution_policies" {
  description = "The same of ECS's part."
  value       = { for role, p in aws_iam_role_policy.execution : role => p.policy }
}
