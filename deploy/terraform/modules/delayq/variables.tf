# ---- what runs

variable "name" {
  description = "Name of the deployment; begins the names of everything in it. One for each environment of an account."
  type        = string
  default     = "delayq"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,21}[a-z0-9]$", var.name))
    error_message = "name: give 2 to 23 lower-case letters, digits and `-`, such as delayq-staging (a load balancer's name has 32 characters at most, the last 8 are taken)."
  }
}

variable "image" {
  description = "The image (deploy/container/Dockerfile, built for arm64) with a version or digest: REPOSITORY:TAG or REPOSITORY@sha256:…"
  type        = string

  validation {
    condition     = can(regex("^[^ ]+(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image: give a version or digest, REPOSITORY:1.2.3 or REPOSITORY@sha256:…; with :latest two tasks may differ, and there is no way back."
  }
}

variable "image_repository_arns" {
  description = "ECR repositories that the image may be pulled from, besides the one that `registry` makes. Empty for a public registry."
  type        = list(string)
  default     = []
}

variable "registry" {
  description = "Whether to make an ECR repository of the deployment's name."
  type        = bool
  default     = false
}

variable "health_command" {
  description = "How ECS asks the container whether it is healthy."
  type        = list(string)
  default     = ["CMD", "/usr/local/bin/delayq", "health", "--live"]
}

variable "services" {
  description = <<-EOT
    Size and number of each role. `cpu` in units (1,024 a vCPU), `memory` in MiB, a pair that Fargate has; autoscaling moves between `min`
    and `max` tasks; `spot`: `none`, `beyond-min` (what autoscaling adds) or `all`. More routers than partitions idle, and more schedulers
    than `long.shards` do as well.
  EOT
  type = object({
    router = optional(object({
      cpu = optional(number, 512), memory = optional(number, 1024), min = optional(number, 2), max = optional(number, 6), spot = optional(string, "beyond-min")
    }), {})
    scheduler = optional(object({
      cpu = optional(number, 256), memory = optional(number, 512), min = optional(number, 2), max = optional(number, 4), spot = optional(string, "none")
    }), {})
    emitter = optional(object({
      cpu = optional(number, 512), memory = optional(number, 1024), min = optional(number, 2), max = optional(number, 10), spot = optional(string, "beyond-min")
    }), {})
    console = optional(object({
      cpu = optional(number, 256), memory = optional(number, 512), min = optional(number, 1), max = optional(number, 1), spot = optional(string, "none")
    }), {})
  })
  default = {}

  validation {
    condition     = alltrue([for s in [var.services.router, var.services.scheduler, var.services.emitter, var.services.console] : contains(["none", "beyond-min", "all"], s.spot)])
    error_message = "services: spot is none, beyond-min or all."
  }

  validation {
    condition     = alltrue([for s in [var.services.router, var.services.scheduler, var.services.emitter, var.services.console] : 0 <= s.min && s.min <= s.max && floor(s.min) == s.min && floor(s.max) == s.max])
    error_message = "services: give whole numbers with 0 <= min <= max."
  }
}

variable "wait_for_steady_state" {
  description = "Whether `apply` upgrades emitters, then schedulers, then routers, each only once the one before is healthy: who reads must know what is written. False: all at once."
  type        = bool
  default     = true
}

# ---- configuration of delayq

variable "topics" {
  description = "`[topics]` and `canary.topic` of delayq's configuration: the roles' rights at Kafka are made of them as well."
  type = object({
    allow       = list(string)
    delay       = optional(list(string), ["delayq.delay"])
    dead_letter = optional(string, "delayq.dead-letters")
    canary      = optional(string, "delayq.canary")
    output      = optional(string, "{target}.{priority}")
  })

  validation {
    condition     = length(var.topics.allow) > 0
    error_message = "topics.allow: name the targets that producers may ask for, as globs such as [\"orders\", \"billing.*\"]."
  }

  validation {
    condition     = length(var.topics.delay) > 0
    error_message = "topics.delay: name at least one delay topic."
  }

  validation {
    condition     = length(regexall("\\{target\\}", var.topics.output)) == 1
    error_message = "topics.output: it holds {target} once, and {priority} if topics differ by it."
  }
}

variable "settings" {
  description = <<-EOT
    More of delayq's configuration (docs/configuration.md): section to field to value, such as { long = { shards = "8" } }. Each becomes a
    variable DELAYQ_SECTION__FIELD; a property of librdkafka goes to { kafka = { properties__fetch_min_bytes = "1" } }. Not for secrets.
  EOT
  type        = map(map(string))
  default     = {}

  validation {
    condition     = alltrue(flatten([for section, fields in var.settings : [for field in keys(fields) : can(regex("^[a-z0-9_]+$", "${section}${field}"))]]))
    error_message = "settings: sections and fields are written as in docs/configuration.md, in lower case with `_`."
  }

  validation {
    condition     = !anytrue(flatten([for fields in values(var.settings) : [for field in keys(fields) : can(regex("token|password|secret|_pem$|jaas", field))]]))
    error_message = "settings: they can be read in the task definition; put secrets into Secrets Manager (kafka.secret_arn; the console's tokens are made)."
  }

  validation {
    condition     = !contains(keys(var.settings), "topics") && !contains(keys(var.settings), "routes")
    error_message = "settings: topics have a variable of their own; routes can only be given in a file: build it into the image and name it with config_file."
  }
}

variable "config_file" {
  description = "Path of a configuration file inside the image, for `[[routes]]`, which no variable can give; null: there is none."
  type        = string
  default     = null
}

variable "metrics_namespace" {
  description = "CloudWatch namespace that delayq writes its metrics to: one for each deployment of an account and region, or their alarms ring together."
  type        = string
  default     = "delayq"
}

variable "metrics" {
  description = "Whether delayq prints its metrics for CloudWatch (embedded metric format). Alarms, dashboard and most of the autoscaling live on them."
  type        = bool
  default     = true
}

# ---- Kafka

variable "kafka" {
  description = <<-EOT
    The cluster. `auth`: `iam` (MSK; `cluster_arn` needed), `scram` or `mtls` (`secret_arn` needed: a JSON secret with `username` and `password`,
    or with `certificate` and `key` in PEM), or `none` (no TLS: only for brokers that nobody else can reach). `security_groups`: the brokers', by any name, to each
    of which a rule for delayq is added; or `cidrs`: where the brokers are. `cluster_name`: MSK's name, to scale routers on its lag metrics where delayq's own are off (`metrics`).
    `secret_key_arn`: the secret's customer managed key.
  EOT
  type = object({
    bootstrap_servers = string
    auth              = string
    cluster_arn       = optional(string)
    cluster_name      = optional(string)
    secret_arn        = optional(string)
    secret_key_arn    = optional(string)
    security_groups   = optional(map(string), {})
    cidrs             = optional(list(string), [])
  })

  validation {
    condition     = contains(["iam", "scram", "mtls", "none"], var.kafka.auth)
    error_message = "kafka.auth: choose iam, scram, mtls or none."
  }

  validation {
    condition     = var.kafka.auth != "iam" || var.kafka.cluster_arn != null
    error_message = "kafka.cluster_arn: with auth = \"iam\" the roles' policies name the cluster; give its ARN."
  }

  validation {
    condition     = !contains(["scram", "mtls"], var.kafka.auth) || var.kafka.secret_arn != null
    error_message = "kafka.secret_arn: with scram or mtls give the ARN of a secret with username and password, or certificate and key."
  }

  validation {
    condition     = alltrue([for c in var.kafka.cidrs : can(cidrhost(c, 0)) && c != "0.0.0.0/0"])
    error_message = "kafka.cidrs: give the IPv4 ranges of the brokers, not everything."
  }
}

variable "kafka_port" {
  description = "Port of the brokers; null: MSK's for the way to sign in (iam 9098, scram 9096, mtls 9094, none 9092)."
  type        = number
  default     = null
}

# ---- network

variable "vpc" {
  description = "A VPC to make; null: `existing_vpc` is used. `egress`: see modules/network."
  type = object({
    cidr                    = optional(string, "10.40.0.0/20")
    availability_zones      = list(string)
    egress                  = optional(string, "nat")
    flow_log_retention_days = optional(number, 0)
  })
  default = null

  validation {
    condition     = (var.vpc == null) != (var.existing_vpc == null)
    error_message = "vpc, existing_vpc: give one of them."
  }
}

variable "existing_vpc" {
  description = <<-EOT
    A VPC that is there. Tasks go to `task_subnet_ids` (`public_ip`: with a public address, in public subnets without NAT), the console's load balancer to
    `load_balancer_subnet_ids`, the gateway endpoints into `route_table_ids` (by any name; empty: no endpoints are made). `internet`: whether tasks may
    call HTTPS anywhere; false needs endpoints.
  EOT
  type = object({
    id                       = string
    task_subnet_ids          = list(string)
    load_balancer_subnet_ids = optional(list(string), [])
    route_table_ids          = optional(map(string), {})
    public_ip                = optional(bool, false)
    internet                 = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.existing_vpc == null || try(var.existing_vpc.internet || length(var.existing_vpc.route_table_ids) > 0, false)
    error_message = "existing_vpc.route_table_ids: without a way out (internet = false) tasks reach DynamoDB and S3 by gateway endpoints alone; name the subnets' route tables."
  }
}

variable "endpoints" {
  description = <<-EOT
    Interface endpoints, $7.30 a month each in each zone: null makes those without which nothing works when tasks have no way out (`egress` is `none`:
    sqs, ecr.api, ecr.dkr, logs, secretsmanager), else none. `["sqs"]` beside a NAT gateway pays from about 420 GB a month in two zones.
  EOT
  type        = set(string)
  default     = null

  validation {
    condition     = var.endpoints == null || try(length(var.endpoints), 0) == 0 || var.vpc != null || try(length(var.existing_vpc.route_table_ids) > 0, false)
    error_message = "endpoints: in an existing VPC name route tables as well (existing_vpc.route_table_ids), or none are made."
  }
}

# ---- storage

variable "storage" {
  description = "Options of queues and tables, see modules/storage: `capacity`, `point_in_time_recovery_days`, `deletion_protection`, `queue_redrive_allow`."
  type = object({
    capacity = optional(map(object({
      read_min       = optional(number, 5)
      read_max       = number
      write_min      = optional(number, 5)
      write_max      = number
      target_percent = optional(number, 70)
    })), {})
    point_in_time_recovery_days = optional(number, 35)
    deletion_protection         = optional(bool, true)
    queue_redrive_allow         = optional(bool, true)
  })
  default = {}
}

variable "customer_managed_keys" {
  description = "Whether queues, tables, secrets and logs have keys of their own: $2 a month and KMS's calls, and whoever loses the key loses the data. False: AWS's keys."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days: CloudWatch knows 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 and some longer ones."
  }
}

# ---- console

variable "console" {
  description = <<-EOT
    The console behind a load balancer; null: it does not run. `internal`: private addresses only. `token_access`: see modules/console. Without
    `oidc` people sign in with tokens alone. `oidc`: the provider (modules/console), and who may what: `operators` and `viewers` are values of the claim
    `roles_claim`. With OIDC tasks need a way out: they fetch keys.
  EOT
  type = object({
    certificate_arn     = string
    ingress_cidrs       = list(string)
    internal            = optional(bool, true)
    ssl_policy          = optional(string, "ELBSecurityPolicy-TLS13-1-2-2021-06")
    access_logs_bucket  = optional(string)
    deletion_protection = optional(bool, true)
    token_access        = optional(bool, false)
    oidc = optional(object({
      issuer                 = string
      authorization_endpoint = string
      token_endpoint         = string
      user_info_endpoint     = string
      client_id              = string
      scope                  = optional(string, "openid email")
      operators              = list(string)
      viewers                = optional(list(string), [])
      roles_claim            = optional(string)
    }))
  })
  default = null

  validation {
    condition     = var.existing_vpc == null || var.console == null || try(length(var.existing_vpc.load_balancer_subnet_ids) >= 2, false)
    error_message = "existing_vpc.load_balancer_subnet_ids: the console's load balancer needs subnets in two zones."
  }

  validation {
    condition     = var.console == null || try(var.console.oidc, null) == null || (var.vpc != null ? try(var.vpc.egress, "") != "none" : try(var.existing_vpc.internet, true))
    error_message = "console.oidc: the console fetches the load balancer's keys over HTTPS, and has no way out with egress none; choose nat or public."
  }
}

variable "oidc_client_secret" {
  description = "Secret of the OIDC client: from TF_VAR_oidc_client_secret. It is in the state; encrypt that."
  type        = string
  default     = null
  sensitive   = true
}

variable "console_tokens" {
  description = "The console's bearer tokens: `secret_arn` of a JSON secret with `operator_token` and `viewer_token`, as modules/tokens makes it, and `key_arns`, its customer managed key if it has one. Needed with a console."
  type = object({
    secret_arn = string
    key_arns   = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.console == null || var.console_tokens != null
    error_message = "console_tokens: the console listens off loopback only with tokens; make them by modules/tokens and give its output `secret`."
  }
}

# ---- who is told

variable "alarm_topics" {
  description = "SNS topics to tell: `page` wakes somebody, `ticket` waits for the morning."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}
}

variable "runbook" {
  description = "Where the runbook is, for the alarms' descriptions."
  type        = string
  default     = "deploy/RUNBOOK.md"
}

# ---- rest

variable "second_ticks" {
  description = "Whether EventBridge Scheduler sends ticks as well, once a minute for each of `long.shards`: the long tier goes on even if no scheduler's own ticks come. See README.md for what it costs."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of a policy that no role may exceed, if the account asks for one."
  type        = string
  default     = null
}
