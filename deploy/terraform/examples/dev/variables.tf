variable "region" {
  description = "AWS's region."
  type        = string
  default     = "eu-central-1"
}

variable "availability_zones" {
  description = "Zones of that region to use. Named, so that subnets stay where they are when AWS opens another."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b"]
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
