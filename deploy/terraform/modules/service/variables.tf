variable "name" {
  description = "First part of the names."
  type        = string
}

variable "role" {
  description = "The role of delayq, which is the service's name: `router`, `scheduler`, `emitter` or `console`."
  type        = string
}

variable "cluster" {
  description = "The ECS cluster."
  type        = object({ name = string, arn = string })
}

variable "task_definition_arn" {
  description = "What runs."
  type        = string
}

variable "network" {
  description = "Where it runs."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
    public_ip          = bool
  })
}

variable "min" {
  description = "Fewest tasks."
  type        = number

  validation {
    condition     = var.min >= 0 && floor(var.min) == var.min
    error_message = "min: give a whole number of tasks, 0 or more."
  }
}

variable "max" {
  description = "Most tasks."
  type        = number

  validation {
    condition     = var.max >= var.min
    error_message = "max: give at least as many as min."
  }
}

variable "spot" {
  description = "`none`: all tasks on demand. `beyond-min`: what autoscaling adds is Spot, four in five. `all`: Spot alone, for environments that may pause."
  type        = string

  validation {
    condition     = contains(["none", "beyond-min", "all"], var.spot)
    error_message = "spot: choose none, beyond-min or all."
  }
}

variable "load_balancer" {
  description = "Target group, container and port of a load balancer, for a role that has one."
  type        = object({ target_group_arn = string, container = string, port = number })
  default     = null
}

variable "cpu_target_percent" {
  description = "CPU that autoscaling aims at; null: CPU does not scale this role."
  type        = number
  default     = null
}

variable "backlog" {
  description = "Work that waits, which autoscaling keeps at `target` for each task: the sum of `metrics`, which are averages of tasks already if `of_a_task`. Null: it has no such measure."
  type = object({
    target    = number
    of_a_task = optional(bool, false)
    metrics = map(object({
      namespace  = string
      name       = string
      stat       = string
      dimensions = map(string)
    }))
  })
  default = null
}

variable "pressures" {
  description = <<-EOT
    Signs that more tasks are needed at once, each an alarm with a step: `expression` (Metrics Insights, or metric math over `metrics`)
    above `above` for `minutes` adds `add` tasks; below `below` (if given) for 15 minutes takes one away.
  EOT
  type = map(object({
    expression = string
    metrics = optional(map(object({
      namespace  = string
      name       = string
      stat       = string
      dimensions = map(string)
    })), {})
    above   = number
    below   = optional(number)
    minutes = optional(number, 2)
    add     = optional(number, 1)
  }))
  default = {}
}

variable "wait_for_steady_state" {
  description = "Whether `apply` waits until the new tasks are healthy. With it, roles are upgraded one after the other."
  type        = bool
  default     = true
}
