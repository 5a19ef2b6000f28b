# Random tokens in a secret, made by Secrets Manager and written once: neither the state nor a plan holds them.

ephemeral "aws_secretsmanager_random_password" "this" {
  for_each = var.keys

  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "this" {
  # checkov:skip=CKV2_AWS_57:the console reads its tokens when it starts: they are replaced by `edition` and a restart
  name                    = var.name
  description             = "Tokens of delayq: ${join(", ", sort(var.keys))}."
  kms_key_id              = try(var.kms_key.arn, null)
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "this" {
  secret_id                = aws_secretsmanager_secret.this.id
  secret_string_wo         = jsonencode({ for key, token in ephemeral.aws_secretsmanager_random_password.this : key => token.random_password })
  secret_string_wo_version = var.edition
}
