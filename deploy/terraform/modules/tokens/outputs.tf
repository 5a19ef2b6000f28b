output "secret" {
  description = "What modules/delayq takes as `console_tokens`. Depends on the value: a task that needs it can start."
  value = {
    secret_arn = aws_secretsmanager_secret.this.arn
    key_arns   = var.kms_key[*].arn
  }
  depends_on = [aws_secretsmanager_secret_version.this]
}
