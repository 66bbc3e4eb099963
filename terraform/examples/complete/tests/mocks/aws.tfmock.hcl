# What AWS would answer, where more than a random word is needed: ARNs that policies name, and two zones.

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-west-1b", "eu-west-1a", "eu-west-1c"] }
}

mock_data "aws_region" {
  defaults = { region = "eu-west-1" }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_resource "aws_ecs_cluster" {
  defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/mcp" }
}

mock_resource "aws_lb" {
  defaults = { arn_suffix = "app/mcp/0123456789abcdef", dns_name = "mcp-1.eu-west-1.elb.amazonaws.com" }
}

mock_resource "aws_lb_target_group" {
  defaults = { arn_suffix = "targetgroup/mcp/0123456789abcdef" }
}

mock_resource "aws_service_discovery_private_dns_namespace" {
  defaults = { arn = "arn:aws:servicediscovery:eu-west-1:123456789012:namespace/ns-0123456789abcdef" }
}

mock_resource "aws_service_discovery_service" {
  defaults = { arn = "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-0123456789abcdef" }
}

mock_resource "aws_secretsmanager_secret" {
  defaults = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mcp-registry-0a1b2c" }
}

mock_resource "aws_elasticache_replication_group" {
  defaults = { primary_endpoint_address = "master.mcp-registry.abc123.euw1.cache.amazonaws.com" }
}
