# Ways in and out by name and port; nothing else goes.

locals {
  kafka_port = coalesce(var.kafka_port, { iam = 9098, scram = 9096, mtls = 9094, none = 9092 }[var.kafka.auth])

  ports = { http = 8080, console = 8081 }

  security_groups = {
    tasks   = "All tasks of delayq: HTTPS to AWS."
    kafka   = "Tasks of delayq that talk to Kafka."
    console = "The console of delayq: from its load balancer."
  }
}

resource "aws_security_group" "this" {
  # checkov:skip=CKV2_AWS_5:attached to the services, in modules/service, which checkov does not follow
  for_each = local.security_groups

  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = local.network.vpc_id

  tags = { Name = "${var.name}-${each.key}" }
}

# AWS by its public addresses, and the console's keys and identity provider.
resource "aws_vpc_security_group_egress_rule" "https" {
  count = local.internet ? 1 : 0

  security_group_id = aws_security_group.this["tasks"].id
  cidr_ipv4         = "0.0.0.0/0"
  description       = "HTTPS to AWS"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  count = local.with_endpoints && length(local.interfaces) > 0 ? 1 : 0

  security_group_id            = aws_security_group.this["tasks"].id
  referenced_security_group_id = module.endpoints[0].security_group_id
  description                  = "HTTPS to the interface endpoints"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "gateways" {
  for_each = local.with_endpoints ? toset(["dynamodb", "s3"]) : toset([])

  security_group_id = aws_security_group.this["tasks"].id
  prefix_list_id    = module.endpoints[0].prefix_list_ids[each.key]
  description       = "HTTPS to the gateway of ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "brokers" {
  for_each = var.kafka.security_groups

  security_group_id            = aws_security_group.this["kafka"].id
  referenced_security_group_id = each.value
  description                  = "Kafka"
  ip_protocol                  = "tcp"
  from_port                    = local.kafka_port
  to_port                      = local.kafka_port
}

resource "aws_vpc_security_group_ingress_rule" "brokers" {
  for_each = var.kafka.security_groups

  security_group_id            = each.value
  referenced_security_group_id = aws_security_group.this["kafka"].id
  description                  = "Kafka from ${var.name}"
  ip_protocol                  = "tcp"
  from_port                    = local.kafka_port
  to_port                      = local.kafka_port
}

resource "aws_vpc_security_group_egress_rule" "brokers_by_range" {
  for_each = toset(var.kafka.cidrs)

  security_group_id = aws_security_group.this["kafka"].id
  cidr_ipv4         = each.key
  description       = "Kafka at ${each.key}"
  ip_protocol       = "tcp"
  from_port         = local.kafka_port
  to_port           = local.kafka_port
}
