# The queues that `delayq init` makes (services/aws/src/provision_queues.rs), attribute for attribute.

locals {
  priorities = toset(["high", "standard", "low"])

  # The longest that SQS keeps a message, 14 days. A dead-letter queue counts from the first send.
  retention_seconds = 1209600

  # High, because one message holds many records, and each of them may need a redelivery.
  max_receive_count = 100

  # Between two delayq's ticks are 30 s; one that is not worked on by then carries nothing that the next does not.
  tick_retention_seconds = 300

  queue_kms_key_arn = try(var.queue_encryption ? var.kms_key.arn : null, null)
  # Fewer calls to KMS than with the default of 300 s.
  queue_kms_reuse_seconds = var.queue_encryption && var.kms_key != null ? 3600 : null
  queue_sse_managed       = var.queue_encryption && var.kms_key == null ? true : null
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = local.priorities

  name                              = "${var.name}-${each.key}-dead-letters"
  message_retention_seconds         = local.retention_seconds
  kms_master_key_id                 = local.queue_kms_key_arn
  kms_data_key_reuse_period_seconds = local.queue_kms_reuse_seconds
  sqs_managed_sse_enabled           = local.queue_sse_managed
}

resource "aws_sqs_queue" "main" {
  for_each = local.priorities

  name                              = "${var.name}-${each.key}"
  message_retention_seconds         = local.retention_seconds
  kms_master_key_id                 = local.queue_kms_key_arn
  kms_data_key_reuse_period_seconds = local.queue_kms_reuse_seconds
  sqs_managed_sse_enabled           = local.queue_sse_managed

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.key].arn
    maxReceiveCount     = local.max_receive_count
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  for_each = var.queue_redrive_allow ? local.priorities : toset([])

  queue_url = aws_sqs_queue.dead_letters[each.key].url

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.main[each.key].arn]
  })
}

# No dead-letter queue: a tick carries no work, and one that is lost costs nothing. delayq gives deduplication ids itself.
resource "aws_sqs_queue" "ticks" {
  name                              = "${var.name}-ticks.fifo"
  fifo_queue                        = true
  content_based_deduplication       = false
  message_retention_seconds         = local.tick_retention_seconds
  kms_master_key_id                 = local.queue_kms_key_arn
  kms_data_key_reuse_period_seconds = local.queue_kms_reuse_seconds
  sqs_managed_sse_enabled           = local.queue_sse_managed
}
