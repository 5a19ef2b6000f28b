variable "name" {
  description = "First part of the names."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the load balancer in at least two zones: private ones for an internal one, else public ones."
  type        = list(string)
}

variable "internal" {
  description = "Whether the load balancer has private addresses only."
  type        = bool
}

variable "ingress_cidrs" {
  description = "Who may come in, as IPv4 ranges."
  type        = list(string)

  validation {
    condition     = length(var.ingress_cidrs) > 0 && alltrue([for c in var.ingress_cidrs : can(cidrhost(c, 0))])
    error_message = "ingress_cidrs: name the IPv4 ranges of your people, such as [\"10.0.0.0/8\"]."
  }
}

variable "certificate_arn" {
  description = "ACM certificate of the console's host name."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:acm:", var.certificate_arn))
    error_message = "certificate_arn: give the ARN of a certificate in ACM, in the region of the load balancer."
  }
}

variable "ssl_policy" {
  description = "Versions and ciphers of TLS."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"

  validation {
    condition = contains([
      "ELBSecurityPolicy-TLS13-1-3-2021-06",
      "ELBSecurityPolicy-TLS13-1-2-2021-06",
      "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
      "ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04",
      "ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04",
      "ELBSecurityPolicy-TLS13-1-2-Res-FIPS-2023-04",
    ], var.ssl_policy)
    error_message = "ssl_policy: choose one with TLS 1.2 or later, such as ELBSecurityPolicy-TLS13-1-2-2021-06."
  }
}

variable "access_logs_bucket" {
  description = "Bucket for access logs; null: none are written. Its policy must let the region's load balancers write."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be deleted until this is false again."
  type        = bool
  default     = true
}

variable "task_security_group_id" {
  description = "Security group of the console's tasks."
  type        = string
}

variable "ports" {
  description = "Ports of the console's tasks: `console` (API and page) and `http` (health)."
  type        = object({ console = number, http = number })
}

variable "oidc" {
  description = "The identity provider that people sign in at; null: the console's own tokens are all there is."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
    scope                  = optional(string, "openid email")
    session_timeout        = optional(number, 43200)
  })
  default = null

  validation {
    condition     = var.oidc == null || try(alltrue([for url in [var.oidc.issuer, var.oidc.authorization_endpoint, var.oidc.token_endpoint, var.oidc.user_info_endpoint] : startswith(url, "https://")]), false)
    error_message = "oidc: issuer and endpoints begin with https://; they are in the provider's .well-known/openid-configuration."
  }
}

variable "oidc_client_secret" {
  description = "The client's secret. It is in Terraform's state, since the load balancer takes it no other way: encrypt the state."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.oidc == null || var.oidc_client_secret != null
    error_message = "oidc_client_secret: oidc needs it; set TF_VAR_oidc_client_secret, not a file."
  }
}

variable "token_access" {
  description = "Whether requests with a bearer token go past the sign-in, for `delayq top`, `validate` and scripts. The console still checks the token."
  type        = bool
  default     = false
}
