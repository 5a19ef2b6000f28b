variable "name" {
  description = "First part of the names."
  type        = string
}

variable "role" {
  description = "The role of delayq; names the container as well."
  type        = string
}

variable "image" {
  description = "The image, with a tag or digest."
  type        = string
}

variable "command" {
  description = "Arguments of `delayq`."
  type        = list(string)
}

variable "health_command" {
  description = "Exit code 0 while the container is healthy; empty: ECS only sees whether it runs."
  type        = list(string)
}

variable "cpu" {
  description = "CPU units, 1,024 a vCPU."
  type        = number
}

variable "memory" {
  description = "Memory in MiB."
  type        = number

  validation {
    condition = contains(lookup({
      "256"   = [512, 1024, 2048]
      "512"   = range(1024, 4097, 1024)
      "1024"  = range(2048, 8193, 1024)
      "2048"  = range(4096, 16385, 1024)
      "4096"  = range(8192, 30721, 1024)
      "8192"  = range(16384, 61441, 4096)
      "16384" = range(32768, 122881, 8192)
    }, tostring(var.cpu), []), var.memory)
    error_message = "memory: Fargate does not have ${var.memory} MiB with ${var.cpu} CPU units. 256 go with 512, 1024 or 2048; 512 with 1024 to 4096; 1024 with 2048 to 8192; 2048 with 4096 to 16384."
  }
}

variable "environment" {
  description = "Environment variables."
  type        = map(string)
}

variable "secrets" {
  description = "Environment variables that ECS fills from Secrets Manager: name to ARN, or ARN:KEY:: for one key of a JSON secret."
  type        = map(string)
}

variable "ports" {
  description = "Ports that the container listens on, by name."
  type        = map(number)
}

variable "task_role_arn" {
  description = "What delayq runs as."
  type        = string
}

variable "execution_role_arn" {
  description = "What ECS starts it as."
  type        = string
}

variable "log_group" {
  description = "Name of the log group."
  type        = string
}

variable "stop_timeout" {
  description = "Seconds between SIGTERM and SIGKILL, 120 at most on Fargate. delayq's own stop time-outs (90 s) stay below."
  type        = number
  default     = 120

  validation {
    condition     = var.stop_timeout >= 100 && var.stop_timeout <= 120
    error_message = "stop_timeout: give 100 to 120 s. Fargate grants 120 at most, and delayq drains for up to 90 s."
  }
}
