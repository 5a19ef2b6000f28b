output "security_group_id" {
  description = "Security group of the interface endpoints; null if there are none."
  value       = one(aws_security_group.endpoints[*].id)
}

output "prefix_list_ids" {
  description = "Prefix lists of the gateway endpoints, for the tasks' way out."
  value = {
    dynamodb = aws_vpc_endpoint.dynamodb.prefix_list_id
    s3       = aws_vpc_endpoint.s3.prefix_list_id
  }
}
