# delayq as production has it, smaller: one NAT gateway, two small tasks a role at the least, emitters beyond that on Spot.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # terraform init -backend-config="bucket=…" -backend-config="key=…" -backend-config="region=…"
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = "delayq", environment = "staging" }
  }
}

module "tokens" {
  source = "../../modules/tokens"
  count  = var.console == null ? 0 : 1

  name = "delayq-staging/console-tokens"
}

module "delayq" {
  source = "../../modules/delayq"

  name                  = "delayq-staging"
  image                 = var.image
  image_repository_arns = var.image_repository_arns
  metrics_namespace     = "delayq-staging"
  topics                = { allow = var.targets }
  kafka                 = var.kafka

  vpc = {
    cidr               = "10.41.0.0/20"
    availability_zones = var.availability_zones
    egress             = "nat"
  }

  services = {
    router    = { cpu = 256, memory = 1024, min = 2, max = 4 }
    scheduler = { cpu = 256, memory = 512, min = 2, max = 4 }
    emitter   = { cpu = 256, memory = 1024, min = 2, max = 6 }
    console   = { min = 1, max = 1, spot = "all" }
  }

  storage = { point_in_time_recovery_days = 7 }

  console            = var.console
  console_tokens     = one(module.tokens[*].secret)
  oidc_client_secret = var.oidc_client_secret
  alarm_topics       = { ticket = var.alarm_topic_arns, page = var.alarm_topic_arns }
  log_retention_days = 14
}
