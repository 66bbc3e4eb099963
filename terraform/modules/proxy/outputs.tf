output "service_name" {
  description = "Name of the ECS service, and the value of the metrics' dimension `Service`."
  value       = aws_ecs_service.this.name
}

output "security_group_id" {
  description = "Security group of the proxies."
  value       = module.task.security_group_id
}

output "log_group" {
  description = "Name of the proxies' log group."
  value       = module.task.log_group
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
    min_percent        = aws_ecs_service.this.deployment_minimum_healthy_percent
    max_percent        = aws_ecs_service.this.deployment_maximum_percent
    rolls_back         = one(aws_ecs_service.this.deployment_circuit_breaker).rollback
    balanced_port      = one(aws_ecs_service.this.load_balancer).container_port
    scale_out_cooldown = one(aws_appautoscaling_policy.cpu.target_tracking_scaling_policy_configuration).scale_out_cooldown
    scale_in_cooldown  = one(aws_appautoscaling_policy.cpu.target_tracking_scaling_policy_configuration).scale_in_cooldown
    tasks              = var.tasks
  }
}

output "ingress" {
  description = "Who may connect to which port, for checks."
  value = {
    for name, rule in aws_vpc_security_group_ingress_rule.load_balancer : name => {
      from = rule.referenced_security_group_id
      port = rule.to_port
      cidr = rule.cidr_ipv4
    }
  }
}
