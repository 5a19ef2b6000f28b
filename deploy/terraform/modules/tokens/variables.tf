variable "name" {
  description = "Name of the secret."
  type        = string
}

variable "keys" {
  description = "Keys of the JSON secret, a token each: those of the console."
  type        = set(string)
  default     = ["operator_token", "viewer_token"]
}

variable "edition" {
  description = "Raise it to replace the tokens; then restart the console (`aws ecs update-service --force-new-deployment`)."
  type        = number
  default     = 1
}

variable "kms_key" {
  description = "Key of the secret, by its ARN; null: AWS's own."
  type        = object({ arn = string })
  default     = null
}
