variable "name" {
  description = "First part of the keys' aliases."
  type        = string
}

variable "deletion_window_days" {
  description = "How long a key can still be saved after it was given up, 7 to 30 days. What it encrypted is gone with it."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30
    error_message = "deletion_window_days: KMS takes 7 to 30."
  }
}
