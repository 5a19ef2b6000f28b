# delayq's configuration, as environment variables.

locals {
  services = merge(
    { router = var.services.router, scheduler = var.services.scheduler, emitter = var.services.emitter },
    var.console == null ? {} : { console = var.services.console },
  )

  # Roles that somebody starts by hand (`aws ecs run-task`).
  jobs = {
    init = {
      command = ["init"]
    }
    dead-letters = {
      command = ["dead-letters", "list"]
    }
  }

  roles = concat(["router", "scheduler", "emitter", "console"], keys(local.jobs))

  kafka_properties = {
    iam   = {} # DELAYQ_KAFKA__AUTH
    scram = { SECURITY_PROTOCOL = "sasl_ssl", SASL_MECHANISMS = "SCRAM-SHA-512" }
    mtls  = { SECURITY_PROTOCOL = "ssl" }
    none  = {}
  }[var.kafka.auth]

  environment = merge(
    {
      DELAYQ_AWS__REGION              = data.aws_region.current.name
      DELAYQ_AWS__PREFIX              = var.name
      DELAYQ_HTTP__LISTEN             = "0.0.0.0:${local.ports.http}"
      DELAYQ_KAFKA__BOOTSTRAP_SERVERS = var.kafka.bootstrap_servers
      DELAYQ_LOG__FORMAT              = "json"
      DELAYQ_TOPICS__ALLOW            = join(",", var.topics.allow)
      DELAYQ_TOPICS__DELAY            = join(",", var.topics.delay)
      DELAYQ_TOPICS__DEAD_LETTER      = var.topics.dead_letter
      DELAYQ_TOPICS__OUTPUT           = var.topics.output
      DELAYQ_CANARY__TOPIC            = var.topics.canary
    },
    { for property, value in local.kafka_properties : "DELAYQ_KAFKA__PROPERTIES__${property}" => value },
    var.kafka.auth == "iam" ? { DELAYQ_KAFKA__AUTH = "aws-iam" } : {},
    var.config_file == null ? {} : { DELAYQ_CONFIG = var.config_file },
    var.metrics ? { DELAYQ_METRICS__EMF = "true", DELAYQ_METRICS__EMF_NAMESPACE = var.metrics_namespace } : {},
    merge([for section, fields in var.settings : { for field, value in fields : "DELAYQ_${upper(section)}__${upper(field)}" => value }]...),
  )

  oidc = try(var.console.oidc, null)

  console_environment = merge(
    { DELAYQ_CONSOLE__LISTEN = "0.0.0.0:${local.ports.console}" },
    local.oidc == null ? {} : merge(
      {
        DELAYQ_CONSOLE__OIDC__ISSUER    = local.oidc.issuer
        DELAYQ_CONSOLE__OIDC__CLIENT_ID = local.oidc.client_id
        DELAYQ_CONSOLE__OIDC__OPERATORS = join(",", local.oidc.operators)
        DELAYQ_CONSOLE__OIDC__ALB       = module.console[0].load_balancer_arn
      },
      length(local.oidc.viewers) == 0 ? {} : { DELAYQ_CONSOLE__OIDC__VIEWERS = join(",", local.oidc.viewers) },
      local.oidc.roles_claim == null ? {} : { DELAYQ_CONSOLE__OIDC__ROLES_CLAIM = local.oidc.roles_claim },
    ),
  )

  # What other settings decide here.
  router_group = try(var.settings.kafka.group_id, "delayq-router")
  shards       = tonumber(try(var.settings.long.shards, "4"))
  canaries     = try(var.settings.canary.enabled, "true") != "false"
}
