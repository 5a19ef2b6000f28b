# A cluster, for those who have none. TLS everywhere; topics are made by `delayq init`, never by a typing mistake.

locals {
  serverless  = var.kind == "serverless" ? { this = true } : {}
  provisioned = var.kind == "provisioned" ? { this = true } : {}
  replicas    = min(3, length(var.subnet_ids))
}

# What may come in is said by whoever may: modules/delayq adds a rule for its tasks.
resource "aws_security_group" "this" {
  name        = "${var.name}-kafka"
  description = "Brokers of ${var.name}."
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-kafka" }
}

resource "aws_msk_serverless_cluster" "this" {
  for_each = local.serverless

  cluster_name = var.name

  client_authentication {
    sasl {
      iam {
        enabled = true
      }
    }
  }

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.this.id]
  }
}

resource "aws_cloudwatch_log_group" "brokers" {
  # checkov:skip=CKV_AWS_338:how long is the variable's to say: these are working logs, and a year of them costs more than it tells
  for_each = local.provisioned

  name              = "/delayq/${var.name}/brokers"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_key_arn
}

resource "aws_msk_configuration" "this" {
  for_each = local.provisioned

  name           = var.name
  kafka_versions = [var.kafka_version]

  # acks=all is worth what min.insync.replicas says.
  server_properties = <<-EOT
    auto.create.topics.enable=false
    default.replication.factor=${local.replicas}
    min.insync.replicas=${max(1, local.replicas - 1)}
    unclean.leader.election.enable=false
    offset.metadata.max.bytes=4096
  EOT

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_msk_cluster" "this" {
  for_each = local.provisioned

  cluster_name           = var.name
  kafka_version          = var.kafka_version
  number_of_broker_nodes = length(var.subnet_ids)
  # From this level on CloudWatch has the lag of a consumer group by topic, which the routers scale on.
  enhanced_monitoring = "PER_TOPIC_PER_BROKER"

  broker_node_group_info {
    client_subnets  = var.subnet_ids
    instance_type   = var.instance_type
    security_groups = [aws_security_group.this.id]

    storage_info {
      ebs_storage_info {
        volume_size = var.volume_gb
      }
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.this[each.key].arn
    revision = aws_msk_configuration.this[each.key].latest_revision
  }

  client_authentication {
    unauthenticated = false

    sasl {
      iam   = var.auth == "iam"
      scram = var.auth == "scram"
    }

    dynamic "tls" {
      for_each = var.auth == "mtls" ? [var.certificate_authority_arns] : []

      content {
        certificate_authority_arns = tls.value
      }
    }
  }

  encryption_info {
    encryption_at_rest_kms_key_arn = var.kms_key_arn

    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }

  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.brokers[each.key].name
      }
    }
  }
}

resource "aws_vpc_security_group_ingress_rule" "between_brokers" {
  for_each = local.provisioned

  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = aws_security_group.this.id
  description                  = "Between brokers"
  ip_protocol                  = "tcp"
  from_port                    = 9092
  to_port                      = 9098
}

resource "aws_msk_scram_secret_association" "this" {
  for_each = var.auth == "scram" ? local.provisioned : {}

  cluster_arn     = aws_msk_cluster.this[each.key].arn
  secret_arn_list = var.scram_secret_arns
}
