# Queues and tables are those of `delayq init`: numbers and names are read out of its sources.

mock_provider "aws" {}

run "init" {
  command = plan

  module {
    source = "./tests/init"
  }
}

run "queues" {
  assert {
    condition     = alltrue([for p in ["high", "standard", "low"] : aws_sqs_queue.main[p].name == "delayq-${p}" && aws_sqs_queue.dead_letters[p].name == "delayq-${p}-dead-letters"])
    error_message = "Queues have other names than services/aws/src/names.rs gives them."
  }

  assert {
    condition     = alltrue([for p in ["high", "standard", "low"] : jsondecode(aws_sqs_queue.main[p].redrive_policy) == { deadLetterTargetArn = aws_sqs_queue.dead_letters[p].arn, maxReceiveCount = run.init.max_receive_count }])
    error_message = "A queue's redrive policy must name its own dead-letter queue, after MAX_RECEIVE_COUNT receives."
  }

  # Not caught by any emulator: SQS refuses a FIFO queue with a standard dead-letter queue, and the reverse.
  assert {
    condition     = alltrue([for p in ["high", "standard", "low"] : coalesce(aws_sqs_queue.main[p].fifo_queue, false) == coalesce(aws_sqs_queue.dead_letters[p].fifo_queue, false)])
    error_message = "A queue and its dead-letter queue must both be FIFO, or both not."
  }

  assert {
    condition     = alltrue([for q in concat(values(aws_sqs_queue.main), values(aws_sqs_queue.dead_letters), [aws_sqs_queue.ticks]) : coalesce(q.fifo_queue, false) == endswith(q.name, ".fifo")])
    error_message = "A FIFO queue's name ends in .fifo, and no other's does."
  }

  assert {
    condition     = alltrue([for q in concat(values(aws_sqs_queue.main), values(aws_sqs_queue.dead_letters)) : q.message_retention_seconds == run.init.retention_seconds])
    error_message = "Queues keep messages for RETENTION_S."
  }

  assert {
    condition     = aws_sqs_queue.ticks.name == "delayq-ticks.fifo" && aws_sqs_queue.ticks.content_based_deduplication == false && aws_sqs_queue.ticks.message_retention_seconds == run.init.tick_retention_seconds
    error_message = "The tick queue has given deduplication ids, and keeps ticks for TICK_RETENTION."
  }

  assert {
    condition     = alltrue([for q in concat(values(aws_sqs_queue.main), values(aws_sqs_queue.dead_letters), [aws_sqs_queue.ticks]) : q.sqs_managed_sse_enabled && q.kms_master_key_id == null])
    error_message = "Without a key of one's own, queues are encrypted with SQS's."
  }

  assert {
    condition     = alltrue([for p, a in aws_sqs_queue_redrive_allow_policy.dead_letters : jsondecode(a.redrive_allow_policy) == { redrivePermission = "byQueue", sourceQueueArns = [aws_sqs_queue.main[p].arn] }])
    error_message = "A dead-letter queue takes messages from its own queue alone."
  }
}

run "tables" {
  assert {
    # As JSON: lists and nulls have types of their own otherwise.
    condition = jsonencode({
      for t, v in aws_dynamodb_table.this : t => {
        hash    = v.hash_key
        range   = v.range_key
        ttl     = one(v.ttl[*].attribute_name)
        stream  = v.stream_enabled ? v.stream_view_type : null
        indexes = [for i in v.global_secondary_index : { name = i.name, hash = i.hash_key, range = i.range_key, projection = i.projection_type }]
      }
      }) == jsonencode({
      batches  = { hash = run.init.batches.KEY, range = run.init.batches.SORT, ttl = run.init.batches.EXPIRES, stream = null, indexes = [] }
      shards   = { hash = run.init.shards.PARTITION, range = run.init.shards.SHARD, ttl = run.init.batches.EXPIRES, stream = null, indexes = [] }
      payloads = { hash = run.init.payloads.CHUNK, range = null, ttl = run.init.batches.EXPIRES, stream = null, indexes = [] }
      messages = {
        hash    = run.init.messages.KEY, range = null, ttl = run.init.batches.EXPIRES, stream = "NEW_AND_OLD_IMAGES"
        indexes = [{ name = run.init.messages.INDEX, hash = run.init.messages.GROUP, range = run.init.messages.ORDER, projection = "ALL" }]
      }
    })
    error_message = "Tables differ from what services/aws/src/provision_tables.rs makes."
  }

  assert {
    condition     = { for t, v in aws_dynamodb_table.this : t => { for a in v.attribute : a.name => a.type } } == { batches = { k = "S", s = "S" }, shards = { p = "S", n = "N" }, payloads = { chunk = "S" }, messages = { k = "S", g = "S", o = "S" } }
    error_message = "Only keys are attributes of a table, each with its type."
  }

  assert {
    condition     = alltrue([for t, v in aws_dynamodb_table.this : v.name == "delayq-${t}" && v.billing_mode == "PAY_PER_REQUEST" && v.deletion_protection_enabled && v.point_in_time_recovery[0].enabled])
    error_message = "By default tables are on demand, protected, and can be restored."
  }

  assert {
    condition     = length(aws_appautoscaling_target.capacity) == 0
    error_message = "On demand nothing scales."
  }
}

run "provisioned" {
  variables {
    capacity = { messages = { read_max = 100, write_min = 10, write_max = 200 }, batches = { read_max = 50, write_max = 50, target_percent = 60 } }
  }

  assert {
    condition     = { for t, v in aws_dynamodb_table.this : t => v.billing_mode } == { batches = "PROVISIONED", messages = "PROVISIONED", shards = "PAY_PER_REQUEST", payloads = "PAY_PER_REQUEST" }
    error_message = "The tables named have provisioned capacity, the others do not."
  }

  assert {
    condition     = toset(keys(aws_appautoscaling_target.capacity)) == toset(["messages-read", "messages-write", "messages-by-due-read", "messages-by-due-write", "batches-read", "batches-write"])
    error_message = "Reads and writes of tables and indexes scale."
  }

  assert {
    condition     = aws_appautoscaling_target.capacity["messages-by-due-write"].resource_id == "table/delayq-messages/index/by-due" && aws_appautoscaling_target.capacity["messages-by-due-write"].scalable_dimension == "dynamodb:index:WriteCapacityUnits" && aws_appautoscaling_target.capacity["messages-by-due-write"].max_capacity == 200
    error_message = "The index scales as its table does."
  }
}

run "own_key" {
  variables {
    kms_key = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  assert {
    condition     = alltrue([for q in concat(values(aws_sqs_queue.main), values(aws_sqs_queue.dead_letters), [aws_sqs_queue.ticks]) : q.kms_master_key_id == var.kms_key.arn])
    error_message = "All queues are encrypted with the key given."
  }

  assert {
    condition     = alltrue([for t in aws_dynamodb_table.this : t.server_side_encryption[0].kms_key_arn == var.kms_key.arn])
    error_message = "All tables are encrypted with the key given."
  }
}

run "refuses_nonsense" {
  command = plan

  variables {
    name                        = "a b"
    point_in_time_recovery_days = 36
    capacity                    = { tables = { read_max = 1, write_max = 10 } }
  }

  expect_failures = [var.name, var.point_in_time_recovery_days, var.capacity]
}
