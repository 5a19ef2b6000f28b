module "network" {
  source = "../network"
  count  = var.vpc == null ? 0 : 1

  name                    = var.name
  cidr                    = var.vpc.cidr
  availability_zones      = var.vpc.availability_zones
  egress                  = var.vpc.egress
  flow_log_retention_days = var.vpc.flow_log_retention_days
  logs_key_arn            = local.logs_key_arn
}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  egress = try(var.vpc.egress, null)

  network = var.vpc == null ? {
    vpc_id                   = var.existing_vpc.id
    task_subnet_ids          = var.existing_vpc.task_subnet_ids
    load_balancer_subnet_ids = var.existing_vpc.load_balancer_subnet_ids
    route_table_ids          = var.existing_vpc.route_table_ids
    public_ip                = var.existing_vpc.public_ip
    internet                 = var.existing_vpc.internet
    } : {
    vpc_id                   = module.network[0].vpc_id
    task_subnet_ids          = local.egress == "public" ? module.network[0].public_subnet_ids : module.network[0].private_subnet_ids
    load_balancer_subnet_ids = try(var.console.internal, true) ? module.network[0].private_subnet_ids : module.network[0].public_subnet_ids
    route_table_ids          = module.network[0].route_table_ids
    public_ip                = local.egress == "public"
    internet                 = local.egress != "none"
  }

  # Without a way out, what the tasks cannot start or work without. DynamoDB and S3 have gateways.
  interfaces = var.endpoints != null ? var.endpoints : toset(
    local.internet ? [] : ["sqs", "ecr.api", "ecr.dkr", "logs", "secretsmanager"]
  )

  internet       = var.vpc == null ? try(var.existing_vpc.internet, true) : local.egress != "none"
  with_endpoints = var.vpc != null || length(try(var.existing_vpc.route_table_ids, {})) > 0
}

module "endpoints" {
  source = "../endpoints"
  count  = local.with_endpoints ? 1 : 0

  name                   = var.name
  vpc_id                 = local.network.vpc_id
  route_table_ids        = local.network.route_table_ids
  subnet_ids             = local.network.task_subnet_ids
  interfaces             = local.interfaces
  task_security_group_id = aws_security_group.this["tasks"].id
  principals_account     = data.aws_caller_identity.current.account_id
}
