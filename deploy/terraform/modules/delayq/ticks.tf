# Ticks of a second source. SQS takes the deduplication id only from a universal target: the queue has none by content.
#
# A tick says when it was sent, in milliseconds, and EventBridge Scheduler only knows RFC 3339: the time here lies far in the future, which delayq reads as
# "just now". It gives up on an event after a minute, so that this is never far from the truth.

locals {
  second_ticks = var.second_ticks ? { for shard in range(local.shards) : tostring(shard) => shard } : {}
  tick_time_ms = 253402300799000
}

resource "aws_scheduler_schedule_group" "ticks" {
  count = var.second_ticks ? 1 : 0

  name = "${var.name}-ticks"
}

resource "aws_iam_role" "ticks" {
  count = var.second_ticks ? 1 : 0

  name                 = "${var.name}-second-ticks"
  description          = "Sends delayq's ticks from EventBridge Scheduler."
  permissions_boundary = var.permissions_boundary

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "ticks" {
  count = var.second_ticks ? 1 : 0

  name = "send"
  role = aws_iam_role.ticks[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{ Effect = "Allow", Action = ["sqs:SendMessage"], Resource = module.storage.queue_arns.ticks }],
      [for key in local.data_key_arns : { Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [key] }],
    )
  })
}

resource "aws_scheduler_schedule" "ticks" {
  for_each = local.second_ticks

  name                = "${var.name}-tick-${each.key}"
  group_name          = aws_scheduler_schedule_group.ticks[0].name
  description         = "Brings shard ${each.key} up to date."
  schedule_expression = "rate(1 minute)"
  kms_key_arn         = local.data_key_arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"
    role_arn = aws_iam_role.ticks[0].arn

    input = jsonencode({
      QueueUrl               = module.storage.ticks_url
      MessageBody            = "${each.key} ${local.tick_time_ms}"
      MessageGroupId         = each.key
      MessageDeduplicationId = "${each.key}-<aws.scheduler.execution-id>"
    })

    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 3
    }
  }

  depends_on = [aws_iam_role_policy.ticks]
}
