# Secrets of others, which ECS reads when it starts a container. None is made here: what is ephemeral (modules/tokens) cannot be mocked in tests.

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
    "DELAYQ_CONSOLE__${upper(field)}" => "${var.console_tokens.secret_arn}:${field}::"
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
      role == "console" && var.console != null ? [var.console_tokens.secret_arn] : [],
    )
  }
}
