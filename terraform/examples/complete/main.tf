# Everything together: clients -> load balancer -> proxies -> MCP servers, and the registry beside.

provider "aws" {
  region = var.region

  default_tags {
    tags = { Application = var.name }
  }
}

locals {
  network = var.network == null ? one(module.network) : var.network
  image   = { for name, url in module.images.urls : name => "${url}:${var.release}" }
  cluster = { arn = aws_ecs_cluster.this.arn, name = aws_ecs_cluster.this.name }
}

module "images" {
  source = "../../modules/images"

  name         = var.name
  force_delete = var.disposable
}

module "network" {
  source = "../../modules/network"
  count  = var.network == null ? 1 : 0

  name = var.name
  nat  = var.nat
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

module "load_balancer" {
  source = "../../modules/load-balancer"

  name                = var.name
  vpc_id              = local.network.vpc_id
  subnet_ids          = local.network.public_subnet_ids
  certificate_arn     = var.certificate_arn
  insecure_http       = var.insecure_http
  target_port         = 8080
  health_port         = 9464
  deletion_protection = !var.disposable
}

module "proxy" {
  source = "../../modules/proxy"

  name                 = var.name
  vpc_id               = local.network.vpc_id
  subnet_ids           = local.network.private_subnet_ids
  cluster              = local.cluster
  image                = local.image["proxy"]
  image_repository_arn = module.images.arns["proxy"]
  architecture         = var.architecture
  allowed_hosts        = var.allowed_hosts
  load_balancer        = module.load_balancer
  discovery            = module.server.discovery
  backend              = module.server.endpoint
  redis_secret_arn     = module.registry.secret_arn
}

module "server" {
  source = "../../modules/server"

  name                    = var.name
  vpc_id                  = local.network.vpc_id
  subnet_ids              = local.network.private_subnet_ids
  cluster                 = local.cluster
  image                   = local.image["server"]
  image_repository_arn    = module.images.arns["server"]
  architecture            = var.architecture
  proxy_security_group_id = module.proxy.security_group_id
  sessions_per_task       = var.sessions_per_task

  # The sample server keeps its tools' state there; a server of your own need not.
  secrets = { REDIS_URL = module.registry.secret_arn }
}

module "registry" {
  source = "../../modules/registry"

  name                 = var.name
  vpc_id               = local.network.vpc_id
  subnet_ids           = local.network.private_subnet_ids
  token                = var.registry_token
  token_version        = var.registry_token_version
  secret_recovery_days = var.disposable ? 0 : 7

  clients = {
    proxies = module.proxy.security_group_id
    servers = module.server.security_group_id
  }
}

module "observability" {
  source = "../../modules/observability"

  name           = var.name
  cluster_name   = aws_ecs_cluster.this.name
  proxy          = module.proxy
  server         = module.server
  load_balancer  = module.load_balancer.dimensions
  registry_nodes = module.registry.node_ids
  alarm_topics   = var.alarm_topics
}
