variable "name" {
  description = "First part of the names of all queues and tables: `aws.prefix` of delayq's configuration."
  type        = string
  default     = "delayq"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,40}$", var.name))
    error_message = "name: give 1 to 40 letters, digits, `_` or `-`, as aws.prefix takes them."
  }
}

variable "kms_key" {
  description = "Customer managed key for queues and tables, by its ARN. Null: SQS's own key and DynamoDB's own key, which cost nothing and cannot be revoked."
  type        = object({ arn = string })
  default     = null
}

variable "queue_encryption" {
  description = "Whether queues are encrypted at rest. Only for emulators that know no encryption is false right."
  type        = bool
  default     = true
}

variable "queue_redrive_allow" {
  description = "Whether each dead-letter queue accepts messages from its own queue only. False for emulators without this attribute."
  type        = bool
  default     = true
}

variable "point_in_time_recovery_days" {
  description = "How many days back the tables can be restored to any second, 1 to 35; 0 switches it off. It costs $0.20 a GB-month."
  type        = number
  default     = 35

  validation {
    condition     = var.point_in_time_recovery_days >= 0 && var.point_in_time_recovery_days <= 35
    error_message = "point_in_time_recovery_days: give 1 to 35, or 0 to switch it off."
  }
}

variable "deletion_protection" {
  description = "Whether tables refuse to be deleted until this is false again. They hold records that exist nowhere else once their offsets are committed."
  type        = bool
  default     = true
}

variable "capacity" {
  description = <<-EOT
    Provisioned capacity with autoscaling, for some or all tables (`batches`, `shards`, `payloads`, `messages`); a table that is not
    named is on demand, which is the default and right until a steady load is known. Units a second; `target_percent` is the use that
    autoscaling aims at. The index of `messages` gets the write capacity of its table.
  EOT
  type = map(object({
    read_min       = optional(number, 5)
    read_max       = number
    write_min      = optional(number, 5)
    write_max      = number
    target_percent = optional(number, 70)
  }))
  default = {}

  validation {
    condition     = length(setsubtract(keys(var.capacity), ["batches", "shards", "payloads", "messages"])) == 0
    error_message = "capacity: its keys are tables: batches, shards, payloads, messages."
  }

  validation {
    condition = alltrue([
      for c in values(var.capacity) :
      1 <= c.read_min && c.read_min <= c.read_max && 1 <= c.write_min && c.write_min <= c.write_max
    ])
    error_message = "capacity: give 1 <= read_min <= read_max and 1 <= write_min <= write_max for each table."
  }

  validation {
    condition     = alltrue([for c in values(var.capacity) : c.target_percent >= 20 && c.target_percent <= 90])
    error_message = "capacity: DynamoDB takes a target_percent from 20 to 90."
  }
}
