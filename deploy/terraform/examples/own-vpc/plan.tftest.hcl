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
  target = module.delayq.module.keys[0].data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

variables {
  image              = "registry.example/delayq:0.1.0"
  targets            = ["orders"]
  vpc_id             = "vpc-0123456789abcdef0"
  private_subnet_ids = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1", "subnet-0123456789abcdef2"]
}

run "serverless" {
  command = plan

  assert {
    condition     = length(module.delayq.queue_names) == 7
    error_message = "Queues are planned."
  }
}

run "provisioned" {
  command = plan

  variables {
    kafka_kind      = "provisioned"
    route_table_ids = { a = "rtb-0123456789abcdef0" }
  }

  assert {
    condition     = length(module.delayq.queue_names) == 7
    error_message = "Queues are planned."
  }
}
