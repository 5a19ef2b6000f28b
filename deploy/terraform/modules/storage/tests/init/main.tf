# What `delayq init` says in its sources.

locals {
  sources = "${path.module}/../../../../../../services"
  aws     = "${local.sources}/aws/src"
  queues  = file("${local.aws}/provision_queues.rs")

  constants = {
    for name in ["dynamo_batches", "dynamo_shards", "dynamo_payloads", "message_rows"] : name => {
      for c in regexall("const ([A-Z]+): &str = \"([^\"]*)\";", file("${local.aws}/${name}.rs")) : c[0] => c[1]
    }
  }
}

output "max_receive_count" {
  value = tonumber(regex("MAX_RECEIVE_COUNT: u32 = ([0-9]+)", local.queues)[0])
}

output "retention_seconds" {
  value = tonumber(replace(regex("RETENTION_S: u32 = ([0-9_]+)", local.queues)[0], "_", ""))
}

output "tick_retention_seconds" {
  value = tonumber(regex("TICK_RETENTION: Duration = Duration::from_secs\\(([0-9]+)\\)", file("${local.sources}/core/src/ports.rs"))[0])
}

output "batches" {
  value = local.constants.dynamo_batches
}

output "shards" {
  value = local.constants.dynamo_shards
}

output "payloads" {
  value = local.constants.dynamo_payloads
}

output "messages" {
  value = local.constants.message_rows
}
