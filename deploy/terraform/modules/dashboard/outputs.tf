output "body" {
  description = "The dashboard as JSON, for tests."
  value       = aws_cloudwatch_dashboard.this.dashboard_body
}
