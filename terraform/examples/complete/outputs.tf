output "endpoint" {
  description = "The MCP endpoint. With HTTPS, point the certificate's name at `load_balancer` and use that name."
  value       = "${var.insecure_http ? "http" : "https"}://${module.load_balancer.dns_name}${module.server.endpoint.path}"
}

output "load_balancer" {
  description = "Name and zone of the load balancer, for an alias record."
  value       = { dns_name = module.load_balancer.dns_name, zone_id = module.load_balancer.zone_id }
}

output "repositories" {
  description = "Where images are pushed to, as terraform/publish.sh wants it."
  value       = module.images.urls
}

output "services" {
  description = "Cluster and services, as for `aws ecs update-service`."
  value = {
    cluster = aws_ecs_cluster.this.name
    proxy   = module.proxy.service_name
    server  = module.server.service_name
  }
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = module.observability.dashboard
}
