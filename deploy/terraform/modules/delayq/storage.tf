module "keys" {
  source = "../keys"
  count  = var.customer_managed_keys ? 1 : 0

  name = var.name
}

locals {
  data_key      = var.customer_managed_keys ? { arn = module.keys[0].arns.data } : null
  data_key_arn  = try(local.data_key.arn, null)
  logs_key_arn  = one(module.keys[*].arns.logs)
  data_key_arns = var.customer_managed_keys ? [local.data_key_arn] : []
}

module "storage" {
  source = "../storage"

  name                        = var.name
  kms_key                     = local.data_key
  capacity                    = var.storage.capacity
  point_in_time_recovery_days = var.storage.point_in_time_recovery_days
  deletion_protection         = var.storage.deletion_protection
  queue_redrive_allow         = var.storage.queue_redrive_allow
}

module "registry" {
  source = "../registry"
  count  = var.registry ? 1 : 0

  name    = var.name
  kms_key = local.data_key
}
