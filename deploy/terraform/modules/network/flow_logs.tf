# Refused connections, to see what a security group keeps out.

data "aws_caller_identity" "current" {}

locals {
  flow_logs = var.flow_log_retention_days > 0 ? { refused = true } : {}
}

resource "aws_cloudwatch_log_group" "flow" {
  # checkov:skip=CKV_AWS_338:how long is the variable's to say: these are working logs, and a year of them costs more than it tells
  for_each = local.flow_logs

  name              = "/delayq/${var.name}/flow-logs"
  retention_in_days = var.flow_log_retention_days
  kms_key_id        = var.logs_key_arn
}

resource "aws_iam_role" "flow" {
  for_each = local.flow_logs

  name        = "${var.name}-flow-logs"
  description = "Writes the VPC's flow logs."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  for_each = local.flow_logs

  name = "write"
  role = aws_iam_role.flow[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = ["${aws_cloudwatch_log_group.flow[each.key].arn}:*"]
    }]
  })
}

resource "aws_flow_log" "this" {
  for_each = local.flow_logs

  vpc_id          = aws_vpc.this.id
  traffic_type    = "REJECT"
  log_destination = aws_cloudwatch_log_group.flow[each.key].arn
  iam_role_arn    = aws_iam_role.flow[each.key].arn
}
