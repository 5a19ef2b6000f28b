output "prefix" {
  description = "What `aws.prefix` (DELAYQ_AWS__PREFIX) has to be for these names."
  value       = var.name
}

output "queue_names" {
  description = "Names of all queues, by what they are for."
  value = merge(
    { for p, q in aws_sqs_queue.main : p => q.name },
    { for p, q in aws_sqs_queue.dead_letters : "${p}-dead-letters" => q.name },
    { ticks = aws_sqs_queue.ticks.name },
  )
}

output "queue_arns" {
  description = "ARNs of the queues by kind: `queues`, `dead-letter-queues`, `ticks`."
  value = {
    queues             = [for p in sort(local.priorities) : aws_sqs_queue.main[p].arn]
    dead-letter-queues = [for p in sort(local.priorities) : aws_sqs_queue.dead_letters[p].arn]
    ticks              = [aws_sqs_queue.ticks.arn]
  }
}

output "ticks_url" {
  description = "URL of the tick queue."
  value       = aws_sqs_queue.ticks.url
}

output "table_names" {
  description = "Names of the tables, by what they hold."
  value       = { for table, t in aws_dynamodb_table.this : table => t.name }
}

output "table_arns" {
  description = "ARNs of the tables, of their indexes and streams, by kind."
  value = merge(
    { for table, t in aws_dynamodb_table.this : table => [t.arn] },
    {
      messages-index  = ["${aws_dynamodb_table.this["messages"].arn}/index/by-due"]
      messages-stream = ["${aws_dynamodb_table.this["messages"].arn}/stream/*"]
    },
  )
}
