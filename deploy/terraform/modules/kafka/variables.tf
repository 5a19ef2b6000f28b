variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "kind" {
  description = "`serverless`: $0.75 an hour and $0.0015 a partition-hour, IAM only. `provisioned`: brokers by size, any way to sign in."
  type        = string

  validation {
    condition     = contains(["serverless", "provisioned"], var.kind)
    error_message = "kind: choose serverless or provisioned."
  }
}

variable "auth" {
  description = "How clients sign in: `iam`, `scram` or `mtls`. Serverless knows `iam` alone."
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["iam", "scram", "mtls"], var.auth)
    error_message = "auth: choose iam, scram or mtls."
  }

  validation {
    condition     = var.kind != "serverless" || var.auth == "iam"
    error_message = "auth: MSK Serverless takes iam alone; choose kind = \"provisioned\" for scram or mtls."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "One subnet in each of two or three zones; a provisioned cluster has one broker in each."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids: give subnets in at least two zones; three, if acknowledged records are to survive a broker."
  }
}

variable "kafka_version" {
  description = "Version of a provisioned cluster."
  type        = string
  default     = "3.9.x"
}

variable "instance_type" {
  description = "Brokers of a provisioned cluster: kafka.t3.small ($33 a month each) to try, kafka.m7g.large ($149) and larger to rely on."
  type        = string
  default     = "kafka.m7g.large"
}

variable "volume_gb" {
  description = "Disk of each broker in GiB, $0.10 each a month. The delay topic keeps 14 days."
  type        = number
  default     = 100
}

variable "kms_key_arn" {
  description = "Key of the brokers' disks; null: AWS's own for MSK."
  type        = string
  default     = null
}

variable "logs_key_arn" {
  description = "Key of the brokers' logs; null: CloudWatch's own."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "How long the brokers' logs are kept."
  type        = number
  default     = 30
}

variable "scram_secret_arns" {
  description = "Secrets with the users of SCRAM: names begin with `AmazonMSK_`, under a customer managed key."
  type        = set(string)
  default     = []
}

variable "certificate_authority_arns" {
  description = "Private CAs whose certificates clients may show, for mTLS."
  type        = set(string)
  default     = []
}
