variable "name" {
  description = "Name of the repository."
  type        = string
}

variable "kms_key" {
  description = "Key of the images, by its ARN; null: ECR's own."
  type        = object({ arn = string })
  default     = null
}

variable "keep_images" {
  description = "How many images are kept. An older one cannot be gone back to."
  type        = number
  default     = 50

  validation {
    condition     = var.keep_images >= 5
    error_message = "keep_images: keep at least 5, or a rollback may find no image."
  }
}
