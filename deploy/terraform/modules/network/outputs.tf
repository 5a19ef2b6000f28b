output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidrs" {
  description = "Its addresses."
  value       = [aws_vpc.this.cidr_block]
}

output "private_subnet_ids" {
  description = "One private subnet a zone."
  value       = [for zone in var.availability_zones : aws_subnet.private[zone].id]
}

output "public_subnet_ids" {
  description = "One public subnet a zone, for load balancers and NAT gateways; and for tasks, if egress is `public`."
  value       = [for zone in var.availability_zones : aws_subnet.public[zone].id]
}

output "route_table_ids" {
  description = "All route tables, for gateway endpoints."
  value       = { for name, id in merge({ public = aws_route_table.public.id }, { for zone, t in aws_route_table.private : zone => t.id }) : name => id }
}
