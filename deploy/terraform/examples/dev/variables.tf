variable "region" {
  description = "AWS's region."
  type        = string
  default     = "eu-central-1"
}

variable "image" {
  description = "The image, REPOSITORY:TAG."
  type        = string
}

variable "targets" {
  description = "Targets that producers may ask for."
  type        = list(string)
}

variable "bootstrap_servers" {
  description = "Kafka's brokers, host:port, comma separated."
  type        = string
}

variable "kafka_secret_arn" {
  description = "Secret with `username` and `password` for SCRAM."
  type        = string
}

variable "kafka_cidrs" {
  description = "Where the brokers are, as IPv4 ranges."
  type        = list(string)
}
