variable "name" {
  description = "First part of the alarms' names."
  type        = string
}

variable "metrics_namespace" {
  description = "CloudWatch namespace of delayq's own metrics."
  type        = string
}

variable "topics" {
  description = "SNS topics to tell, by severity: `page` wakes somebody, `ticket` waits for the morning."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
}

variable "canaries" {
  description = "Whether canaries are sent (`canary.enabled`): without them their alarms would ring for ever."
  type        = bool
}

variable "dead_letter_queue_names" {
  description = "The dead-letter queues, by priority."
  type        = map(string)
}

variable "table_names" {
  description = "The tables."
  type        = map(string)
}

variable "table_indexes" {
  description = "Their indexes, which are throttled on their own: name of index by table."
  type        = map(string)
  default     = {}
}

variable "cluster_name" {
  description = "The ECS cluster."
  type        = string
}

variable "services" {
  description = "Fewest tasks of each service."
  type        = map(number)
}

variable "runbook" {
  description = "Where the runbook is; an alarm adds `#` and its alert's name in lower case."
  type        = string
  default     = "deploy/RUNBOOK.md"
}
