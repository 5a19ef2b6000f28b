# The console's tokens are made here and written once; neither the state nor a plan holds them.

ephemeral "aws_secretsmanager_random_password" "token" {
  for_each = var.console == null ? toset([]) : toset(["operator", "viewer"])

  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "console_tokens" {
  count = var.console == null ? 0 : 1

  name                    = "${var.name}/console-tokens"
  description             = "Bearer tokens of delayq's console: operator_token, viewer_token."
  kms_key_id              = local.data_key_arn
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "console_tokens" {
  count = var.console == null ? 0 : 1

  secret_id                = aws_secretsmanager_secret.console_tokens[0].id
  secret_string_wo_version = var.console_token_version

  secret_string_wo = jsonencode({
    operator_token = ephemeral.aws_secretsmanager_random_password.token["operator"].random_password
    viewer_token   = ephemeral.aws_secretsmanager_random_password.token["viewer"].random_password
  })
}

locals {
  kafka_secret_keys = {
    iam   = {}
    none  = {}
    scram = { SASL_USERNAME = "username", SASL_PASSWORD = "password" }
    mtls  = { SSL_CERTIFICATE_PEM = "certificate", SSL_KEY_PEM = "key" }
  }[var.kafka.auth]

  kafka_secrets = { for property, key in local.kafka_secret_keys : "DELAYQ_KAFKA__PROPERTIES__${property}" => "${var.kafka.secret_arn}:${key}::" }

  console_secrets = var.console == null ? {} : {
    for field in ["operator_token", "viewer_token"] :
    "DELAYQ_CONSOLE__${upper(field)}" => "${aws_secretsmanager_secret.console_tokens[0].arn}:${field}::"
  }

  # The scheduler talks to no broker.
  secrets = {
    for role in local.roles : role => merge(
      role == "scheduler" ? {} : local.kafka_secrets,
      role == "console" ? local.console_secrets : {},
    )
  }

  secret_arns = {
    for role in local.roles : role => concat(
      role == "scheduler" || length(local.kafka_secret_keys) == 0 ? [] : [var.kafka.secret_arn],
      role == "console" ? aws_secretsmanager_secret.console_tokens[*].arn : [],
    )
  }
}
