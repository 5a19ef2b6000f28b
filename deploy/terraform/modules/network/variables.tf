variable "name" {
  description = "First part of the names."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC. A /16 to /24; each subnet gets a sixteenth of it."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 24, false)
    error_message = "cidr: give an IPv4 range between /16 and /24, such as 10.40.0.0/20."
  }
}

variable "availability_zones" {
  description = "Zones to use, at least two: the load balancer asks for two."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 4
    error_message = "availability_zones: name two to four, such as [\"eu-central-1a\", \"eu-central-1b\"]."
  }
}

variable "egress" {
  description = <<-EOT
    How tasks reach what has no endpoint in the VPC: `public` (they have public addresses, and no way in: $3.65 a task-month, the
    cheapest for a few tasks), `nat` (one NAT gateway, $32.85 a month and $0.045 a GB), `nat-per-zone` (one in each zone: none of them can
    take all down) or `none` (interface endpoints alone: then the console shows no live changes and takes no OIDC, see README.md).
  EOT
  type        = string

  validation {
    condition     = contains(["public", "nat", "nat-per-zone", "none"], var.egress)
    error_message = "egress: choose public, nat, nat-per-zone or none."
  }
}

variable "flow_log_retention_days" {
  description = "How long flow logs of refused connections are kept; 0: none are written."
  type        = number
  default     = 0
}

variable "logs_key_arn" {
  description = "Key of the flow logs; null: CloudWatch's own."
  type        = string
  default     = null
}
