output "service_name" {
  description = "Name of the ECS service, and the value of the metrics' dimension `Service`."
  value       = aws_ecs_service.this.name
}

output "security_group_id" {
  description = "Security group of the servers."
  value       = module.task.security_group_id
}

output "log_group" {
  description = "Name of the servers' log group."
  value       = module.task.log_group
}

output "discovery" {
  description = "Where the proxies find the servers: `name` is NAMESPACE/SERVICE in Cloud Map."
  value = {
    name          = "${aws_service_discovery_private_dns_namespace.this.name}/${aws_service_discovery_service.this.name}"
    namespace_arn = aws_service_discovery_private_dns_namespace.this.arn
    service_arn   = aws_service_discovery_service.this.arn
    port          = one(aws_ecs_service.this.service_registries).container_port
    record        = one(one(aws_service_discovery_service.this.dns_config).dns_records).type
  }
}

output "endpoint" {
  description = "Paths that the proxies have to know."
  value       = { path = var.path, health_path = var.health_path }
}

output "container" {
  description = "The container as it is defined, for checks."
  value       = module.task.container
}

output "policies" {
  description = "Policies of the two roles, for checks."
  value       = module.task.policies
}

output "rollout" {
  description = "How a deployment and scaling go, for checks."
  value = {
    rebalancing        = aws_ecs_service.this.availability_zone_rebalancing
    min_percent        = aws_ecs_service.this.deployment_minimum_healthy_percent
    max_percent        = aws_ecs_service.this.deployment_maximum_percent
    rolls_back         = one(aws_ecs_service.this.deployment_circuit_breaker).rollback
    scale_out_cooldown = one(aws_appautoscaling_policy.sessions.target_tracking_scaling_policy_configuration).scale_out_cooldown
    scale_in_cooldown  = one(aws_appautoscaling_policy.sessions.target_tracking_scaling_policy_configuration).scale_in_cooldown
    tasks              = var.tasks
  }
}

output "ingress" {
  description = "Who may connect to which port, for checks."
  value = {
    from = aws_vpc_security_group_ingress_rule.proxies.referenced_security_group_id
    port = aws_vpc_security_group_ingress_rule.proxies.to_port
    cidr = aws_vpc_security_group_ingress_rule.proxies.cidr_ipv4
  }
}
