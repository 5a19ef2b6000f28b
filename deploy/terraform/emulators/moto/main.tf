# All of the module, by the real provider, in moto: an emulator of AWS's APIs. What moto does not have is left out, see README.md.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "endpoint" {
  description = "URL of moto."
  type        = string
}

variable "name" {
  description = "Name of the deployment."
  type        = string
  default     = "delayq-moto"
}

variable "certificate_arn" {
  description = "A certificate in moto's ACM."
  type        = string
}

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "local"
  secret_key                  = "local"
  max_retries                 = 1
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {
    acm                    = var.endpoint
    applicationautoscaling = var.endpoint
    cloudwatch             = var.endpoint
    dynamodb               = var.endpoint
    ec2                    = var.endpoint
    ecr                    = var.endpoint
    ecs                    = var.endpoint
    elbv2                  = var.endpoint
    iam                    = var.endpoint
    kms                    = var.endpoint
    logs                   = var.endpoint
    scheduler              = var.endpoint
    secretsmanager         = var.endpoint
    sns                    = var.endpoint
    sqs                    = var.endpoint
    sts                    = var.endpoint
  }
}

resource "aws_sns_topic" "page" {
  name = "${var.name}-page"
}

module "tokens" {
  source = "../../modules/tokens"

  name = "${var.name}/console-tokens"
}

module "delayq" {
  source = "../../modules/delayq"

  name     = var.name
  image    = "registry.example/delayq:0.1.0"
  registry = true
  topics   = { allow = ["orders", "billing.*"] }

  kafka = {
    bootstrap_servers = "b-1.example.com:9098"
    auth              = "iam"
    cluster_arn       = "arn:aws:kafka:eu-central-1:123456789012:cluster/example/00000000-0000-0000-0000-000000000000-1"
    cluster_name      = "example"
    cidrs             = ["10.60.0.0/16"]
  }

  vpc = {
    availability_zones      = ["eu-central-1a", "eu-central-1b"]
    egress                  = "nat"
    flow_log_retention_days = 7
  }

  endpoints = ["sqs", "logs"]

  storage = {
    capacity            = { messages = { read_max = 100, write_max = 100 } }
    queue_redrive_allow = false # moto never says that it took it
    deletion_protection = false
  }

  console = {
    certificate_arn     = var.certificate_arn
    ingress_cidrs       = ["10.0.0.0/8"]
    deletion_protection = false
    token_access        = true
    oidc = {
      issuer                 = "https://id.example.com"
      authorization_endpoint = "https://id.example.com/authorize"
      token_endpoint         = "https://id.example.com/token"
      user_info_endpoint     = "https://id.example.com/userinfo"
      client_id              = "delayq"
      operators              = ["ops"]
    }
  }

  console_tokens     = module.tokens.secret
  oidc_client_secret = "not-a-secret"
  alarm_topics       = { page = [aws_sns_topic.page.arn] }
  second_ticks       = true

  # Nothing runs in moto.
  wait_for_steady_state = false
}

output "prefix" {
  description = "`aws.prefix` for delayq."
  value       = module.delayq.prefix
}

output "queue_names" {
  description = "Queues that were made."
  value       = module.delayq.queue_names
}

output "table_names" {
  description = "Tables that were made."
  value       = module.delayq.table_names
}

output "policies" {
  description = "The roles' policies."
  value       = module.delayq.policies
}
