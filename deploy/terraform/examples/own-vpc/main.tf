# delayq in a VPC that is there, with an MSK cluster made beside it: Serverless, or provisioned brokers. IAM signs in to either.

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
    tags = { project = "delayq", environment = "own-vpc" }
  }
}

module "kafka" {
  source = "../../modules/kafka"

  name       = "delayq"
  kind       = var.kafka_kind
  auth       = "iam"
  vpc_id     = var.vpc_id
  subnet_ids = var.private_subnet_ids
}

module "delayq" {
  source = "../../modules/delayq"

  name                  = "delayq"
  image                 = var.image
  image_repository_arns = var.image_repository_arns
  topics                = { allow = var.targets }
  kafka                 = module.kafka.connection

  existing_vpc = {
    id              = var.vpc_id
    task_subnet_ids = var.private_subnet_ids
    # None: the VPC's owner has endpoints, or does not want any from here.
    route_table_ids = var.route_table_ids
    internet        = true
  }
}
