# A plan by the real provider, which checks what it knows of AWS; it calls nobody.

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = module.delayq.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.delayq.module.rights.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.delayq.module.network[0].data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

variables {
  image             = "registry.example/delayq:0.1.0"
  targets           = ["orders"]
  bootstrap_servers = "b-1.example.com:9096"
  kafka_secret_arn  = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_delayq-AbCdEf"
  kafka_cidrs       = ["203.0.113.0/24"]
}

run "dev" {
  command = plan

  assert {
    condition     = module.delayq.queue_names.ticks == "delayq-dev-ticks.fifo" && length(module.delayq.table_names) == 4
    error_message = "Queues and tables are planned."
  }
}
