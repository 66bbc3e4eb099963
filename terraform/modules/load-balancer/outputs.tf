output "dns_name" {
  description = "The load balancer's own name: point yours at it."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "Route 53 zone of `dns_name`, for an alias record."
  value       = aws_lb.this.zone_id
}

output "security_group_id" {
  description = "Security group of the load balancer."
  value       = aws_security_group.this.id
}

output "target_group_arn" {
  description = "Where the proxy service registers its tasks. A service can use it once a listener does."
  value       = aws_lb_target_group.proxy.arn
  depends_on  = [aws_lb_listener.http, aws_lb_listener.https]
}

output "dimensions" {
  description = "CloudWatch dimensions of the load balancer and its target group."
  value = {
    LoadBalancer = aws_lb.this.arn_suffix
    TargetGroup  = aws_lb_target_group.proxy.arn_suffix
  }
}

output "idle_timeout" {
  description = "Seconds without a byte after which a connection is closed."
  value       = aws_lb.this.idle_timeout
}

output "target" {
  description = "Where requests and health checks go."
  value = {
    port             = aws_lb_target_group.proxy.port
    health_port      = tonumber(aws_lb_target_group.proxy.health_check[0].port)
    health_path      = aws_lb_target_group.proxy.health_check[0].path
    leaves_after     = tonumber(aws_lb_target_group.proxy.deregistration_delay)
    sticky           = aws_lb_target_group.proxy.stickiness[0].enabled
    algorithm        = aws_lb_target_group.proxy.load_balancing_algorithm_type
    drops_bad_fields = aws_lb.this.drop_invalid_header_fields
  }
}

output "ingress" {
  description = "Who may connect to which port."
  value = {
    for name, rule in aws_vpc_security_group_ingress_rule.clients : name => { cidr = rule.cidr_ipv4, port = rule.from_port }
  }
}
