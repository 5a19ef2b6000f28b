variable "name" {
  description = "Name of the dashboard."
  type        = string
}

variable "metrics_namespace" {
  description = "CloudWatch namespace of delayq's own metrics."
  type        = string
}

variable "queue_names" {
  description = "All queues, by what they are for."
  type        = map(string)
}

variable "table_names" {
  description = "The tables, by what they hold."
  type        = map(string)
}

variable "cluster_name" {
  description = "The ECS cluster."
  type        = string
}

variable "services" {
  description = "Its services."
  type        = list(string)
}

variable "alarm_arns" {
  description = "Alarms to show on top."
  type        = list(string)
}
