# The policies, made of rights.json. An entry whose resources do not exist here makes no statement.

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  rights = jsondecode(file("${path.module}/rights.json"))
  roles  = local.rights.roles

  kafka_arn = var.kafka == null ? {} : merge(
    { cluster = [var.kafka.cluster_arn] },
    { for kind, names in var.kafka.topics : kind => [for n in names : "${replace(var.kafka.cluster_arn, ":cluster/", ":topic/")}/${n}"] },
    { for kind, names in var.kafka.groups : kind => [for n in names : "${replace(var.kafka.cluster_arn, ":cluster/", ":group/")}/${n}"] },
  )

  own = {
    for role, r in local.roles : role => [
      for s in concat(r.aws, var.kafka == null ? [] : r.kafka) : {
        Sid      = join("", [for kind in s.on : replace(title(replace(kind, "-", " ")), " ", "")])
        Effect   = "Allow"
        Action   = s.actions
        Resource = sort(distinct(flatten([for kind in s.on : try(var.resources[kind], local.kafka_arn[kind])])))
      }
    ]
  }

  by_aws_for_task = {
    for role, r in local.roles : role => [
      for s in local.rights.made_by_aws.task : {
        Sid      = "MadeByAwsKeyFor${title(s.via[0])}"
        Effect   = "Allow"
        Action   = s.actions
        Resource = var.data_key_arns
        Condition = {
          StringEquals = { "kms:ViaService" = [for v in s.via : "${v}.${data.aws_region.current.name}.amazonaws.com"] }
        }
      } if contains(s.roles, role) && length(var.data_key_arns) > 0
    ]
  }

  execution_resources = {
    for role in keys(local.roles) : role => {
      any          = length(var.repository_arns) > 0 ? ["*"] : []
      repository   = var.repository_arns
      log-group    = ["${var.log_group_arns[role]}:*"]
      secrets      = lookup(var.secret_arns, role, [])
      secrets-keys = length(lookup(var.secret_arns, role, [])) > 0 ? var.secrets_key_arns : []
    }
  }

  execution = {
    for role in keys(local.roles) : role => [
      for s in local.rights.made_by_aws.execution : merge(
        {
          Sid      = "MadeByAws${replace(title(replace(s.on, "-", " ")), " ", "")}"
          Effect   = "Allow"
          Action   = s.actions
          Resource = local.execution_resources[role][s.on]
        },
        {
          for via in try(s.via, []) : "Condition" => {
            StringEquals = { "kms:ViaService" = ["${via}.${data.aws_region.current.name}.amazonaws.com"] }
          }
        },
      ) if length(local.execution_resources[role][s.on]) > 0
    ]
  }

  # Only tasks of this account, and of ECS in this region, may take a role.
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
        ArnLike = {
          "aws:SourceArn" = "arn:${data.aws_partition.current.partition}:ecs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:*"
        }
      }
    }]
  })
}

resource "aws_iam_role" "task" {
  for_each = local.roles

  name                 = "${var.name}-${each.key}"
  description          = "What delayq's ${each.key} may call."
  assume_role_policy   = local.trust
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "task" {
  for_each = local.roles

  name = "rights"
  role = aws_iam_role.task[each.key].id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.own[each.key], local.by_aws_for_task[each.key])
  })
}

resource "aws_iam_role" "execution" {
  for_each = local.roles

  name                 = "${var.name}-${each.key}-execution"
  description          = "What ECS may call to start delayq's ${each.key}."
  assume_role_policy   = local.trust
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "execution" {
  for_each = local.roles

  name = "made-by-aws"
  role = aws_iam_role.execution[each.key].id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = local.execution[each.key]
  })
}
