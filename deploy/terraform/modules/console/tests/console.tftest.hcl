# The load balancer: TLS by a policy that AWS has, sign-in before everything else.

mock_provider "aws" {
  override_during = plan

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/mocked/0123456789abcdef" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/mocked/0123456789abcdef" }
  }

  mock_resource "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/mocked/0123456789abcdef/0123456789abcdef" }
  }
}

variables {
  name                   = "delayq"
  vpc_id                 = "vpc-1"
  subnet_ids             = ["subnet-1", "subnet-2"]
  internal               = true
  ingress_cidrs          = ["10.0.0.0/8"]
  certificate_arn        = "arn:aws:acm:eu-central-1:123456789012:certificate/c"
  task_security_group_id = "sg-1"
  ports                  = { console = 8081, http = 8080 }
}

run "tokens_only" {
  command = plan

  assert {
    condition     = aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.https.ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06" && [for a in aws_lb_listener.https.default_action : a.type] == ["forward"]
    error_message = "The listener speaks TLS, and forwards."
  }

  assert {
    condition     = aws_lb_target_group.this.port == 8081 && aws_lb_target_group.this.health_check[0].port == "8080" && aws_lb_target_group.this.health_check[0].path == "/livez"
    error_message = "Requests go to the console's port, health checks to the health port."
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.to_provider) == 0 && toset([for r in aws_vpc_security_group_egress_rule.to_console : r.from_port]) == toset([8080, 8081])
    error_message = "Without OIDC the load balancer calls nobody but the console."
  }
}

run "single_sign_on" {
  command = plan

  variables {
    oidc = {
      issuer                 = "https://id.example.com"
      authorization_endpoint = "https://id.example.com/authorize"
      token_endpoint         = "https://id.example.com/token"
      user_info_endpoint     = "https://id.example.com/userinfo"
      client_id              = "delayq"
    }
    oidc_client_secret = "of-a-test"
    token_access       = true
  }

  assert {
    condition     = [for a in aws_lb_listener.https.default_action : a.type] == ["authenticate-oidc", "forward"] && [for a in aws_lb_listener.https.default_action : a.order] == [1, 2]
    error_message = "Sign-in comes before the console."
  }

  assert {
    condition     = length(aws_lb_listener_rule.tokens) == 1 && one(one(aws_lb_listener_rule.tokens[0].condition[*].http_header)[*].http_header_name) == "Authorization"
    error_message = "Bearer tokens go past the sign-in."
  }
}

run "refuses_old_tls" {
  command = plan

  variables {
    ssl_policy = "ELBSecurityPolicy-2016-08"
  }

  expect_failures = [var.ssl_policy]
}

run "refuses_everybody_by_omission" {
  command = plan

  variables {
    ingress_cidrs = []
  }

  expect_failures = [var.ingress_cidrs]
}

run "refuses_plain_http_providers" {
  command = plan

  variables {
    oidc = {
      issuer                 = "http://id.example.com"
      authorization_endpoint = "https://id.example.com/authorize"
      token_endpoint         = "https://id.example.com/token"
      user_info_endpoint     = "https://id.example.com/userinfo"
      client_id              = "delayq"
    }
    oidc_client_secret = "of-a-test"
  }

  expect_failures = [var.oidc]
}
