# Queues and tables alone, by the real provider, in emulators of SQS and DynamoDB: ElasticMQ and DynamoDB Local. `apply-storage` calls it.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "sqs_endpoint" {
  description = "URL of an emulator of SQS."
  type        = string
}

variable "dynamodb_endpoint" {
  description = "URL of an emulator of DynamoDB."
  type        = string
}

variable "name" {
  description = "`aws.prefix` of the queues and tables."
  type        = string
}

variable "region" {
  description = "The region that the emulators believe to be in."
  type        = string
  default     = "eu-central-1"
}

# Whatever the emulators take for keys. DynamoDB Local has letters and digits alone.
provider "aws" {
  region                      = var.region
  access_key                  = "local"
  secret_key                  = "local"
  max_retries                 = 2
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true

  endpoints {
    sqs      = var.sqs_endpoint
    dynamodb = var.dynamodb_endpoint
  }
}

module "storage" {
  source = "../../modules/storage"

  name = var.name

  # What the emulators do not have.
  queue_encryption            = false
  queue_redrive_allow         = false
  point_in_time_recovery_days = 0
  deletion_protection         = false
}

output "prefix" {
  description = "`aws.prefix` for delayq."
  value       = module.storage.prefix
}

output "queue_names" {
  description = "Queues that were made."
  value       = module.storage.queue_names
}

output "table_names" {
  description = "Tables that were made."
  value       = module.storage.table_names
}
