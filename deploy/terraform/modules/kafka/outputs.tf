locals {
  cluster = one(concat(values(aws_msk_serverless_cluster.this)[*].arn, values(aws_msk_cluster.this)[*].arn))

  bootstrap = var.kind == "serverless" ? aws_msk_serverless_cluster.this["this"].bootstrap_brokers_sasl_iam : {
    iam   = aws_msk_cluster.this["this"].bootstrap_brokers_sasl_iam
    scram = aws_msk_cluster.this["this"].bootstrap_brokers_sasl_scram
    mtls  = aws_msk_cluster.this["this"].bootstrap_brokers_tls
  }[var.auth]
}

output "connection" {
  description = "What modules/delayq takes as `kafka`; add `secret_arn` for SCRAM and mTLS."
  value = {
    bootstrap_servers = local.bootstrap
    auth              = var.auth
    cluster_arn       = local.cluster
    cluster_name      = var.name
    security_groups   = { brokers = aws_security_group.this.id }
  }
}
