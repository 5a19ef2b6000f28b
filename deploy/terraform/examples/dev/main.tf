# delayq to try things out, as cheap as it gets: one small task a role on Spot, no NAT gateway and no interface endpoints (tasks have public
# addresses, and no way in), AWS's own keys, no console, no metrics in CloudWatch. About $20 a month while nobody uses it, see README.md.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = "delayq", environment = "dev" }
  }
}

module "delayq" {
  source = "../../modules/delayq"

  name     = "delayq-dev"
  image    = var.image
  registry = true
  topics   = { allow = var.targets }

  kafka = {
    bootstrap_servers = var.bootstrap_servers
    auth              = "scram"
    secret_arn        = var.kafka_secret_arn
    cidrs             = var.kafka_cidrs
  }

  vpc = {
    availability_zones = var.availability_zones
    egress             = "public"
  }

  services = {
    router    = { cpu = 256, memory = 512, min = 1, max = 1, spot = "all" }
    scheduler = { cpu = 256, memory = 512, min = 1, max = 1, spot = "all" }
    emitter   = { cpu = 256, memory = 512, min = 1, max = 1, spot = "all" }
  }

  storage = {
    point_in_time_recovery_days = 0
    deletion_protection         = false
  }

  # Few canaries: with one of each kind a minute they are most of an idle deployment's calls.
  settings = { canary = { interval = "10m" } }

  # Some 200 metrics at $0.30 a month would cost more than all the rest. /metrics is there all the same.
  metrics = false

  customer_managed_keys = false
  log_retention_days    = 7
}
