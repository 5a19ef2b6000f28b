# The whole module with a mocked provider: what is rendered (policies, containers, alarms, dashboard) is what was meant.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  # Where the text of an ARN matters. They are checked as ARNs.
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/mocked/0123456789abcdef" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/mocked/0123456789abcdef" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mocked" }
  }

  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mocked" }
  }

  mock_resource "aws_appautoscaling_policy" {
    defaults = { arn = "arn:aws:autoscaling:eu-central-1:123456789012:scalingPolicy:0:resource/ecs/service/delayq/emitter:policyName/mocked" }
  }

  mock_resource "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/mocked/0123456789abcdef/0123456789abcdef" }
  }

  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:cluster/mocked" }
  }

  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/mocked:1" }
  }
}

variables {
  name                  = "delayq-test"
  image                 = "registry.example/delayq:1.2.3"
  image_repository_arns = ["arn:aws:ecr:eu-central-1:123456789012:repository/delayq"]
  topics                = { allow = ["orders", "billing.*"] }

  kafka = {
    bootstrap_servers = "b-1.example.com:9098"
    auth              = "iam"
    cluster_arn       = "arn:aws:kafka:eu-central-1:123456789012:cluster/example/0-1"
    cluster_name      = "example"
    security_groups   = { brokers = "sg-1" }
  }

  vpc = { availability_zones = ["eu-central-1a", "eu-central-1b"] }

  console = {
    certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c"
    ingress_cidrs   = ["10.0.0.0/8"]
    oidc = {
      issuer                 = "https://id.example.com"
      authorization_endpoint = "https://id.example.com/authorize"
      token_endpoint         = "https://id.example.com/token"
      user_info_endpoint     = "https://id.example.com/userinfo"
      client_id              = "delayq"
      operators              = ["ops"]
      roles_claim            = "groups"
    }
  }

  oidc_client_secret = "of-a-test"
  console_tokens     = { secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:tokens" }
}

run "documents" {
  command = plan

  module {
    source = "./tests/documents"
  }
}

run "everything" {
  variables {
    second_ticks = true
    settings     = { long = { shards = "2" }, kafka = { properties__fetch_min_bytes = "1" } }
  }

  # ---- configuration

  assert {
    condition = length(setsubtract(
      [for name in distinct(flatten([for role, c in output.container_definitions : [for e in concat(jsondecode(c)[0].environment, jsondecode(c)[0].secrets) : e.name]])) : name if !startswith(name, "DELAYQ_KAFKA__PROPERTIES__")],
      run.documents.variables,
    )) == 0
    error_message = "An environment variable that docs/configuration.md does not have: delayq would refuse to start."
  }

  assert {
    condition     = { for e in jsondecode(output.container_definitions["router"])[0].environment : e.name => e.value }["DELAYQ_AWS__PREFIX"] == "delayq-test"
    error_message = "delayq must look for queues and tables under the names that they have."
  }

  assert {
    condition     = jsonencode({ for role, c in output.container_definitions : role => jsondecode(c)[0].command }) == jsonencode({ router = ["run", "router"], scheduler = ["run", "scheduler"], emitter = ["run", "emitter"], console = ["run", "console"], init = ["init"], dead-letters = ["dead-letters", "list"] })
    error_message = "Each container runs its role."
  }

  assert {
    condition     = jsonencode({ for role, c in output.container_definitions : role => sort([for s in jsondecode(c)[0].secrets : s.name]) }) == jsonencode({ router = [], scheduler = [], emitter = [], init = [], dead-letters = [], console = ["DELAYQ_CONSOLE__OPERATOR_TOKEN", "DELAYQ_CONSOLE__VIEWER_TOKEN"] })
    error_message = "With IAM there are no secrets but the console's tokens."
  }

  # ---- rights

  assert {
    condition = alltrue([
      for role, p in output.policies : alltrue([
        for s in jsondecode(p).Statement : s.Effect == "Allow" && !anytrue([for a in s.Action : strcontains(a, "*")]) && !contains(s.Resource, "*") && length(s.Resource) > 0
      ])
    ])
    error_message = "No policy has a wildcard action, nor all resources, nor none."
  }

  assert {
    condition     = alltrue([for role, p in output.policies : length(distinct([for s in jsondecode(p).Statement : s.Sid])) == length(jsondecode(p).Statement) && alltrue([for s in jsondecode(p).Statement : can(regex("^[A-Za-z0-9]+$", s.Sid))])])
    error_message = "IAM refuses a policy with two statements of one Sid, or with other signs in one."
  }

  assert {
    condition = alltrue([
      for role, p in output.policies :
      toset(flatten([for s in jsondecode(p).Statement : s.Action if !startswith(s.Sid, "MadeByAws")]))
      == toset(flatten([for s in concat(run.documents.rights.roles[role].aws, run.documents.rights.roles[role].kafka) : s.actions]))
    ])
    error_message = "A policy has other actions than rights.json."
  }

  assert {
    condition     = length([for s in jsondecode(output.policies["scheduler"]).Statement : s if strcontains(jsonencode(s), "kafka")]) == 0
    error_message = "The scheduler has no business with Kafka."
  }

  assert {
    condition     = toset([for s in jsondecode(output.policies["router"]).Statement : s.Resource if s.Sid == "RouterGroup"][0]) == toset(["arn:aws:kafka:eu-central-1:123456789012:group/example/0-1/delayq-router"])
    error_message = "The router's group is named, and no other."
  }

  assert {
    condition = toset(flatten([for s in jsondecode(output.policies["emitter"]).Statement : s.Resource if contains(s.Action, "kafka-cluster:WriteData")])) == toset([
      for t in ["billing.*.high", "billing.*.low", "billing.*.standard", "delayq.canary", "delayq.dead-letters", "orders.high", "orders.low", "orders.standard"] : "arn:aws:kafka:eu-central-1:123456789012:topic/example/0-1/${t}"
    ])
    error_message = "The emitter writes to output topics of allowed targets, to dead letters and canaries, and nowhere else."
  }

  # ---- alarms and dashboard

  assert {
    condition     = length(setsubtract(run.documents.alerts, keys(output.alerts))) == 0
    error_message = "An alert of deploy/dashboards/rules.yml has no alarm."
  }

  assert {
    condition     = length(setsubtract(distinct(flatten([for m in regexall("delayq_[a-z_0-9]+", output.dashboard) : m])), run.documents.metrics)) == 0
    error_message = "The dashboard shows a metric that delayq does not have."
  }

  assert {
    condition     = alltrue([for w in jsondecode(output.dashboard).widgets : w.x + w.width <= 24 && contains(["metric", "alarm"], w.type)]) && length(jsondecode(output.dashboard).widgets) < 500
    error_message = "CloudWatch's dashboards are 24 wide."
  }

  # ---- second ticks

  assert {
    condition     = length(aws_scheduler_schedule.ticks) == 2 && jsondecode(aws_scheduler_schedule.ticks["1"].target[0].input).MessageGroupId == "1" && startswith(jsondecode(aws_scheduler_schedule.ticks["1"].target[0].input).MessageBody, "1 ")
    error_message = "Each shard has a schedule, which names it as the group and in the body."
  }

  # ---- names and network

  assert {
    condition     = alltrue([for g in aws_security_group.this : g.vpc_id != null]) && length(aws_vpc_security_group_egress_rule.brokers) == 1 && aws_vpc_security_group_egress_rule.brokers["brokers"].from_port == 9098
    error_message = "With IAM the brokers' port is 9098."
  }
}

run "scram_by_secret" {
  variables {
    kafka = {
      bootstrap_servers = "b-1.example.com:9096"
      auth              = "scram"
      secret_arn        = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_delayq"
      cidrs             = ["10.60.0.0/16"]
    }
    console = null
  }

  assert {
    condition = { for s in jsondecode(output.container_definitions["router"])[0].secrets : s.name => s.valueFrom } == {
      DELAYQ_KAFKA__PROPERTIES__SASL_USERNAME = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_delayq:username::"
      DELAYQ_KAFKA__PROPERTIES__SASL_PASSWORD = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_delayq:password::"
    }
    error_message = "SCRAM's user and password come from the secret."
  }

  assert {
    condition     = length(jsondecode(output.container_definitions["scheduler"])[0].secrets) == 0
    error_message = "The scheduler gets no Kafka secret."
  }

  assert {
    condition     = !strcontains(join("", values(output.policies)), "kafka-cluster")
    error_message = "Without IAM no policy speaks of Kafka."
  }

  assert {
    condition     = !contains(keys(output.container_definitions), "console") && output.console_url == null
    error_message = "No console is made where none is asked for."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.brokers_by_range["10.60.0.0/16"].to_port == 9096
    error_message = "With SCRAM the brokers' port is 9096."
  }
}

run "without_way_out_has_endpoints" {
  variables {
    vpc     = { availability_zones = ["eu-central-1a", "eu-central-1b"], egress = "none" }
    console = null
  }

  assert {
    condition     = local.interfaces == toset(["sqs", "ecr.api", "ecr.dkr", "logs", "secretsmanager"]) && length(aws_vpc_security_group_egress_rule.https) == 0 && length(aws_vpc_security_group_egress_rule.endpoints) == 1
    error_message = "Without a way out all that tasks call has an endpoint, and nothing else can be reached."
  }
}

run "canaries_off" {
  variables {
    settings = { canary = { enabled = "false" } }
  }

  assert {
    condition     = !contains(keys(output.alerts), "DelayqNobodyObserves") && !contains(keys(output.alerts), "DelayqCanaryOverdue")
    error_message = "Without canaries their alarms would ring for ever."
  }
}

run "refuses_latest" {
  command = plan

  variables {
    image = "registry.example/delayq:latest"
  }

  expect_failures = [var.image]
}

run "refuses_iam_without_a_cluster" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "b:9098", auth = "iam" }
  }

  expect_failures = [var.kafka]
}

run "refuses_secrets_in_settings" {
  command = plan

  variables {
    settings = { console = { operator_token = "0123456789abcdef" } }
  }

  expect_failures = [var.settings]
}

run "refuses_two_vpcs" {
  command = plan

  variables {
    existing_vpc = { id = "vpc-1", task_subnet_ids = ["subnet-1"] }
  }

  expect_failures = [var.vpc]
}

run "refuses_single_sign_on_without_a_way_out" {
  command = plan

  variables {
    vpc = { availability_zones = ["eu-central-1a", "eu-central-1b"], egress = "none" }
  }

  expect_failures = [var.console]
}
