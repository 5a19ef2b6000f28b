# Two keys: one for what producers sent (queues, tables, secrets, image), one for logs. Who may read the logs cannot read the data.

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account_root = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"
  logs_service = "logs.${data.aws_region.current.name}.amazonaws.com"

  # The account's own policies decide (rights.json), so that no role is named here and deleting one locks nobody out.
  by_account = {
    Sid       = "ByTheAccountsPolicies"
    Effect    = "Allow"
    Principal = { AWS = local.account_root }
    Action    = "kms:*"
    Resource  = "*"
  }

  keys = {
    data = {
      description = "delayq ${var.name}: queues, tables, secrets, image"
      statements  = [local.by_account]
    }
    logs = {
      description = "delayq ${var.name}: logs"
      statements = [local.by_account, {
        Sid       = "ByCloudWatchLogs"
        Effect    = "Allow"
        Principal = { Service = local.logs_service }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Condition = {
          ArnLike = {
            "kms:EncryptionContext:aws:logs:arn" = "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:log-group:*"
          }
        }
      }]
    }
  }
}

resource "aws_kms_key" "this" {
  for_each = local.keys

  description             = each.value.description
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_days

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = each.value.statements
  })
}

resource "aws_kms_alias" "this" {
  for_each = local.keys

  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}
