# The registry of sessions: Valkey on two nodes in two zones, encrypted on the wire and at rest.

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-registry-"
  description = "Registry of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-registry" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = var.clients

  security_group_id            = aws_security_group.this.id
  description                  = each.key
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}

resource "aws_vpc_security_group_egress_rule" "clients" {
  for_each = var.clients

  security_group_id            = each.value
  description                  = "Registry"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}

resource "aws_elasticache_subnet_group" "this" {
  name       = "${var.name}-registry"
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-registry-valkey8"
  family      = "valkey8"
  description = "Registry of ${var.name}"

  # ElastiCache's default would throw away sessions when memory is short. A new one refused is the lesser evil.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = "${var.name}-registry"
  description          = "Sessions of ${var.name}"
  engine               = "valkey"
  engine_version       = var.engine_version
  node_type            = var.node_type
  port                 = var.port
  parameter_group_name = aws_elasticache_parameter_group.this.name
  subnet_group_name    = aws_elasticache_subnet_group.this.name
  security_group_ids   = [aws_security_group.this.id]

  num_cache_clusters         = var.nodes
  multi_az_enabled           = true
  automatic_failover_enabled = true

  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token_wo              = var.token
  auth_token_wo_version      = var.token_version
  # Both tokens are taken until the next rotation, so that running tasks are not shut out.
  auth_token_update_strategy = "ROTATE"

  auto_minor_version_upgrade = true
  snapshot_retention_limit   = var.snapshot_retention_days
}

resource "aws_secretsmanager_secret" "url" {
  name_prefix             = "${var.name}-registry-"
  description             = "URL of the registry, with its token"
  recovery_window_in_days = var.secret_recovery_days
}

resource "aws_secretsmanager_secret_version" "url" {
  secret_id                = aws_secretsmanager_secret.url.id
  secret_string_wo         = "rediss://:${var.token}@${aws_elasticache_replication_group.this.primary_endpoint_address}:${var.port}"
  secret_string_wo_version = var.token_version
}
