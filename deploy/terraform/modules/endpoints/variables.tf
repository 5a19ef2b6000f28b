variable "name" {
  description = "First part of the names."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "route_table_ids" {
  description = "Route tables of the tasks' subnets, by any name, for the gateway endpoints of S3 and DynamoDB, which are free."
  type        = map(string)
}

variable "subnet_ids" {
  description = "Subnets of the interface endpoints, at most one a zone. Each endpoint costs $7.30 a month in each of them and $0.01 a GB."
  type        = list(string)
}

variable "interfaces" {
  description = "Services with an interface endpoint, as in `com.amazonaws.REGION.SERVICE`."
  type        = set(string)

  validation {
    condition = length(setsubtract(var.interfaces, [
      "sqs", "ecr.api", "ecr.dkr", "logs", "secretsmanager", "kms", "sts", "monitoring",
    ])) == 0
    error_message = "interfaces: what delayq's tasks call is sqs, ecr.api, ecr.dkr, logs and secretsmanager (kms, sts and monitoring are known as well). DynamoDB has a gateway, and its streams' endpoint has no private DNS name."
  }
}

variable "task_security_group_id" {
  description = "Security group of the tasks, which may call the endpoints."
  type        = string
}

variable "principals_account" {
  description = "The account whose principals may use the endpoints."
  type        = string
}
