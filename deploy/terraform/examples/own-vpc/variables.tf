variable "region" {
  description = "AWS's region."
  type        = string
  default     = "eu-central-1"
}

variable "image" {
  description = "The image, REPOSITORY:TAG or REPOSITORY@sha256:…"
  type        = string
}

variable "image_repository_arns" {
  description = "ECR repositories that it is pulled from."
  type        = list(string)
  default     = []
}

variable "targets" {
  description = "Targets that producers may ask for."
  type        = list(string)
}

variable "kafka_kind" {
  description = "`serverless` or `provisioned`."
  type        = string
  default     = "serverless"
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "private_subnet_ids" {
  description = "Private subnets with a way out, one in each of two or three zones."
  type        = list(string)
}

variable "route_table_ids" {
  description = "Their route tables by any name, for gateway endpoints of DynamoDB and S3; empty: the VPC has them."
  type        = map(string)
  default     = {}
}
