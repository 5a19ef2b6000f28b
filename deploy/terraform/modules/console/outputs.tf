output "load_balancer_arn" {
  description = "ARN of the load balancer: what signs the identities that it passes on."
  value       = aws_lb.this.arn
}

output "load_balancer_arn_suffix" {
  description = "How CloudWatch calls it."
  value       = aws_lb.this.arn_suffix
}

output "dns_name" {
  description = "Its name: make the console's host name an alias of it."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "Hosted zone of this name, for the alias."
  value       = aws_lb.this.zone_id
}

output "target_group_arn" {
  description = "Where the console's tasks register. Depends on the listener: ECS refuses a target group without one."
  value       = aws_lb_target_group.this.arn
  depends_on  = [aws_lb_listener.https]
}
