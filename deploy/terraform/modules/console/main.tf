# The load balancer before the console: TLS 1.2 or later, and single sign-on.


resource "aws_security_group" "this" {
  name        = "${var.name}-console-lb"
  description = "Load balancer of delayq's console."
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-console-lb" }
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each = toset(var.ingress_cidrs)

  security_group_id = aws_security_group.this.id
  cidr_ipv4         = each.key
  description       = "HTTPS from ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "to_console" {
  for_each = var.ports

  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = var.task_security_group_id
  description                  = "Port ${each.key} of the console"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# The load balancer itself exchanges the code of a sign-in at the provider.
resource "aws_vpc_security_group_egress_rule" "to_provider" {
  count = var.oidc == null ? 0 : 1

  security_group_id = aws_security_group.this.id
  cidr_ipv4         = "0.0.0.0/0"
  description       = "HTTPS to the identity provider"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "from_load_balancer" {
  for_each = var.ports

  security_group_id            = var.task_security_group_id
  referenced_security_group_id = aws_security_group.this.id
  description                  = "Port ${each.key} from the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_lb" "this" {
  name                       = "${var.name}-console"
  load_balancer_type         = "application"
  internal                   = var.internal
  subnets                    = var.subnet_ids
  security_groups            = [aws_security_group.this.id]
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "strictest"
  enable_deletion_protection = var.deletion_protection
  # WebSockets that say nothing live this long; the page connects again.
  idle_timeout = 300

  dynamic "access_logs" {
    for_each = var.access_logs_bucket[*]

    content {
      bucket  = access_logs.value
      prefix  = "${var.name}-console"
      enabled = true
    }
  }
}

resource "aws_lb_target_group" "this" {
  name                 = "${var.name}-console"
  vpc_id               = var.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.ports.console
  deregistration_delay = 30

  # Alive, not ready: while Kafka or a table is away the console is what tells people so.
  health_check {
    protocol            = "HTTP"
    port                = tostring(var.ports.http)
    path                = "/livez"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTPS"
  port              = 443
  certificate_arn   = var.certificate_arn
  ssl_policy        = var.ssl_policy

  dynamic "default_action" {
    for_each = var.oidc[*]

    content {
      type  = "authenticate-oidc"
      order = 1

      authenticate_oidc {
        issuer                     = default_action.value.issuer
        authorization_endpoint     = default_action.value.authorization_endpoint
        token_endpoint             = default_action.value.token_endpoint
        user_info_endpoint         = default_action.value.user_info_endpoint
        client_id                  = default_action.value.client_id
        client_secret              = var.oidc_client_secret
        scope                      = default_action.value.scope
        session_timeout            = default_action.value.session_timeout
        on_unauthenticated_request = "authenticate"
      }
    }
  }

  default_action {
    type             = "forward"
    order            = var.oidc == null ? 1 : 2
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_lb_listener_rule" "tokens" {
  count = var.oidc != null && var.token_access ? 1 : 0

  listener_arn = aws_lb_listener.https.arn
  priority     = 10

  condition {
    http_header {
      http_header_name = "Authorization"
      values           = ["Bearer *"]
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}
