# The tables that `delayq init` makes (services/aws/src/provision_tables.rs): keys, index, TTL, stream.

locals {
  tables = {
    batches = {
      hash    = { name = "k", type = "S" }
      range   = { name = "s", type = "S" }
      expires = "e"
      stream  = null
      indexes = {}
    }
    shards = {
      hash    = { name = "p", type = "S" }
      range   = { name = "n", type = "N" }
      expires = "e"
      stream  = null
      indexes = {}
    }
    payloads = {
      hash    = { name = "chunk", type = "S" }
      range   = null
      expires = "e"
      stream  = null
      indexes = {}
    }
    messages = {
      hash    = { name = "k", type = "S" }
      range   = null
      expires = "e"
      stream  = "NEW_AND_OLD_IMAGES"
      indexes = {
        by-due = {
          hash  = { name = "g", type = "S" }
          range = { name = "o", type = "S" }
        }
      }
    }
  }

  keys = {
    for table, t in local.tables : table => concat(
      [for key in [t.hash, t.range] : key if key != null],
      flatten([for i in values(t.indexes) : [i.hash, i.range]]),
    )
  }
}

resource "aws_dynamodb_table" "this" {
  # checkov:skip=CKV2_AWS_16:on demand by default; scaling.tf scales what is provisioned
  for_each = local.tables

  name                        = "${var.name}-${each.key}"
  billing_mode                = contains(keys(var.capacity), each.key) ? "PROVISIONED" : "PAY_PER_REQUEST"
  read_capacity               = try(var.capacity[each.key].read_min, null)
  write_capacity              = try(var.capacity[each.key].write_min, null)
  hash_key                    = each.value.hash.name
  range_key                   = try(each.value.range.name, null)
  stream_enabled              = each.value.stream != null
  stream_view_type            = each.value.stream
  deletion_protection_enabled = var.deletion_protection

  dynamic "attribute" {
    for_each = local.keys[each.key]

    content {
      name = attribute.value.name
      type = attribute.value.type
    }
  }

  dynamic "global_secondary_index" {
    for_each = each.value.indexes

    content {
      name            = global_secondary_index.key
      hash_key        = global_secondary_index.value.hash.name
      range_key       = global_secondary_index.value.range.name
      projection_type = "ALL"
      read_capacity   = try(var.capacity[each.key].read_min, null)
      write_capacity  = try(var.capacity[each.key].write_min, null)
    }
  }

  dynamic "ttl" {
    for_each = each.value.expires[*]

    content {
      enabled        = true
      attribute_name = ttl.value
    }
  }

  dynamic "point_in_time_recovery" {
    for_each = var.point_in_time_recovery_days > 0 ? [var.point_in_time_recovery_days] : []

    content {
      enabled                 = true
      recovery_period_in_days = point_in_time_recovery.value
    }
  }

  dynamic "server_side_encryption" {
    for_each = var.kms_key[*]

    content {
      enabled     = true
      kms_key_arn = server_side_encryption.value.arn
    }
  }

  lifecycle {
    # Autoscaling's to change; on demand there is none. The index carries capacities of its own, so it stands here as a whole:
    # that it is the right one, `delayq check` says.
    ignore_changes = [read_capacity, write_capacity, global_secondary_index]
  }
}
