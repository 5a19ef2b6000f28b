output "arns" {
  description = "ARNs of the keys: `data` and `logs`."
  value       = { for key, k in aws_kms_key.this : key => k.arn }
}
