variable "region" {
  description = "AWS's region."
  type        = string
  default     = "eu-central-1"
}

variable "availability_zones" {
  description = "Zones of that region to use. Named, so that subnets stay where they are when AWS opens another."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b"]
}

variable "image" {
  description = "The image, REPOSITORY:TAG or REPOSITORY@sha256:…"
  type        = string
}

variable "image_repository_arns" {
  description = "ECR repositories that it is pulled from."
  type        = list(string)
  default     = []
}

variable "targets" {
  description = "Targets that producers may ask for."
  type        = list(string)
}

variable "kafka" {
  description = "The cluster, see modules/delayq."
  type = object({
    bootstrap_servers = string
    auth              = string
    cluster_arn       = optional(string)
    cluster_name      = optional(string)
    secret_arn        = optional(string)
    secret_key_arn    = optional(string)
    security_groups   = optional(map(string), {})
    cidrs             = optional(list(string), [])
  })
}

variable "console" {
  description = "The console, see modules/delayq; null: none."
  type = object({
    certificate_arn     = string
    ingress_cidrs       = list(string)
    internal            = optional(bool, true)
    access_logs_bucket  = optional(string)
    deletion_protection = optional(bool, false)
    token_access        = optional(bool, false)
    oidc = optional(object({
      issuer                 = string
      authorization_endpoint = string
      token_endpoint         = string
      user_info_endpoint     = string
      client_id              = string
      operators              = list(string)
      viewers                = optional(list(string), [])
      roles_claim            = optional(string)
    }))
  })
  default = null
}

variable "oidc_client_secret" {
  description = "Secret of the OIDC client, from TF_VAR_oidc_client_secret."
  type        = string
  default     = null
  sensitive   = true
}

variable "alarm_topic_arns" {
  description = "SNS topics for alarms."
  type        = list(string)
  default     = []
}
