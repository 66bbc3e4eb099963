output "secret_arn" {
  description = "Secret that holds the registry's whole URL. It has a value once this output is known."
  value       = aws_secretsmanager_secret.url.arn
  depends_on  = [aws_secretsmanager_secret_version.url]
}

output "node_ids" {
  description = "The nodes, as CloudWatch calls them."
  value       = [for number in range(1, var.nodes + 1) : format("%s-%03d", aws_elasticache_replication_group.this.replication_group_id, number)]
}

output "security_group_id" {
  description = "Security group of the registry."
  value       = aws_security_group.this.id
}

output "settings" {
  description = "What keeps sessions safe, for checks."
  value = {
    in_transit   = aws_elasticache_replication_group.this.transit_encryption_enabled
    mode         = aws_elasticache_replication_group.this.transit_encryption_mode
    at_rest      = aws_elasticache_replication_group.this.at_rest_encryption_enabled
    multi_az     = aws_elasticache_replication_group.this.multi_az_enabled
    failover     = aws_elasticache_replication_group.this.automatic_failover_enabled
    nodes        = aws_elasticache_replication_group.this.num_cache_clusters
    port         = aws_elasticache_replication_group.this.port
    parameters   = { for one in aws_elasticache_parameter_group.this.parameter : one.name => one.value }
    token_in     = aws_elasticache_replication_group.this.auth_token == null ? "nothing" : "state"
    token_number = aws_elasticache_replication_group.this.auth_token_wo_version
    secret       = aws_secretsmanager_secret_version.url.secret_string_wo_version
  }
}

output "ingress" {
  description = "Who may connect to which port, for checks."
  value = {
    for name, rule in aws_vpc_security_group_ingress_rule.clients : name => {
      from = rule.referenced_security_group_id
      port = rule.to_port
      cidr = rule.cidr_ipv4
    }
  }
}
