variable "name" {
  description = "First part of the roles' names."
  type        = string
}

variable "resources" {
  description = "ARNs by kind, as the kinds are called in rights.json (`resources`)."
  type        = map(list(string))
}

variable "kafka" {
  description = "What the roles reach at Kafka through IAM; null with any other way to sign in. `topics` and `groups` by kind, as in rights.json (`kafka_resources`)."
  type = object({
    cluster_arn = string
    topics      = map(list(string))
    groups      = map(list(string))
  })
  default = null

  validation {
    condition     = var.kafka == null || can(regex("^arn:[a-z-]+:kafka:[a-z0-9-]+:[0-9]{12}:cluster/.+/.+$", var.kafka.cluster_arn))
    error_message = "kafka.cluster_arn: give the ARN of an MSK cluster, arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/ID."
  }
}

variable "data_key_arns" {
  description = "The key of queues and tables, if they have one of their own."
  type        = list(string)
  default     = []
}

variable "repository_arns" {
  description = "ECR repositories that the image may come from. Empty: the image comes from elsewhere."
  type        = list(string)
  default     = []
}

variable "log_group_arns" {
  description = "The log group of each role."
  type        = map(string)
}

variable "secret_arns" {
  description = "Secrets that become environment variables, by role."
  type        = map(list(string))
  default     = {}
}

variable "secrets_key_arns" {
  description = "The keys of these secrets, as far as they are customer managed."
  type        = list(string)
  default     = []
}

variable "permissions_boundary" {
  description = "ARN of a policy that no role may exceed, if the account asks for one."
  type        = string
  default     = null
}
