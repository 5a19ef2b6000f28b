module "console" {
  source = "../console"
  count  = var.console == null ? 0 : 1

  name                   = var.name
  vpc_id                 = local.network.vpc_id
  subnet_ids             = local.network.load_balancer_subnet_ids
  internal               = var.console.internal
  ingress_cidrs          = var.console.ingress_cidrs
  certificate_arn        = var.console.certificate_arn
  ssl_policy             = var.console.ssl_policy
  access_logs_bucket     = var.console.access_logs_bucket
  deletion_protection    = var.console.deletion_protection
  task_security_group_id = aws_security_group.this["console"].id
  ports                  = local.ports
  oidc                   = local.oidc
  oidc_client_secret     = var.oidc_client_secret
  token_access           = var.console.token_access
}

module "console_service" {
  source = "../service"
  count  = var.console == null ? 0 : 1

  name                  = var.name
  role                  = "console"
  cluster               = local.cluster
  task_definition_arn   = module.task["console"].arn
  network               = local.service_network["console"]
  min                   = var.services.console.min
  max                   = var.services.console.max
  spot                  = var.services.console.spot
  cpu_target_percent    = local.scaling.console.cpu_target_percent
  wait_for_steady_state = var.wait_for_steady_state

  load_balancer = {
    target_group_arn = module.console[0].target_group_arn
    container        = "console"
    port             = local.ports.console
  }

  depends_on = [module.router]
}
