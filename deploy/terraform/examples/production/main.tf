# delayq to rely on: three zones with a NAT gateway each, SQS by endpoints, routers and schedulers on demand, emitters beyond the least number on Spot,
# keys of one's own, tables restorable to any second of 35 days, a console with single sign-on.

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
    tags = { project = "delayq", environment = "production" }
  }
}

module "tokens" {
  source = "../../modules/tokens"
  count  = var.console == null ? 0 : 1

  name = "delayq-prod/console-tokens"
}

module "delayq" {
  source = "../../modules/delayq"

  name                  = "delayq-prod"
  image                 = var.image
  image_repository_arns = var.image_repository_arns
  metrics_namespace     = "delayq-prod"
  topics                = { allow = var.targets }
  kafka                 = var.kafka

  vpc = {
    cidr                    = "10.42.0.0/20"
    availability_zones      = var.availability_zones
    egress                  = "nat-per-zone"
    flow_log_retention_days = 30
  }

  # What moves most bytes: cheaper than through NAT from about 630 GB a month, and it does not depend on it.
  endpoints = ["sqs"]

  services = {
    router    = { cpu = 1024, memory = 2048, min = 3, max = 6, spot = "none" }
    scheduler = { cpu = 512, memory = 1024, min = 2, max = 4, spot = "none" }
    emitter   = { cpu = 1024, memory = 2048, min = 3, max = 12, spot = "beyond-min" }
    console   = { min = 2, max = 4 }
  }

  console            = var.console
  console_tokens     = one(module.tokens[*].secret)
  oidc_client_secret = var.oidc_client_secret
  alarm_topics       = { page = var.page_topic_arns, ticket = var.alarm_topic_arns }
  log_retention_days = 90
}
