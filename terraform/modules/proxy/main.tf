# The proxies: any of them serves any session, so that the load balancer may spread requests as it likes.

locals {
  name  = "${var.name}-proxy"
  ports = { mcp = var.port, ops = var.ops_port }
}

module "task" {
  source = "../task"

  name                 = local.name
  image                = var.image
  image_repository_arn = var.image_repository_arn
  vpc_id               = var.vpc_id
  architecture         = var.architecture
  cpu                  = var.cpu
  memory               = var.memory
  ports                = local.ports
  health_url           = "http://127.0.0.1:${var.ops_port}/healthz"
  stop_timeout         = var.stop_timeout
  log_retention_days   = var.log_retention_days

  environment = merge(
    var.settings,
    length(var.allowed_hosts) == 0 ? {} : { ALLOWED_HOSTS = join(",", var.allowed_hosts) },
    length(var.allowed_origins) == 0 ? {} : { ALLOWED_ORIGINS = join(",", var.allowed_origins) },
    {
      HOST              = "0.0.0.0"
      PORT              = tostring(var.port)
      OPS_PORT          = tostring(var.ops_port)
      MCP_PATH          = var.backend.path
      DISCOVERY         = "cloud-map"
      CLOUD_MAP_SERVICE = var.discovery.name
      HEALTH_PATH       = var.backend.health_path
      TRUST_PROXY       = "1"
      # 5 s are left to close what is left before SIGKILL.
      DRAIN_SECONDS = tostring(var.stop_timeout - 5)
      EMF           = local.name
    }
  )

  secrets = { REDIS_URL = var.redis_secret_arn }

  permissions = {
    Discover = {
      actions   = ["servicediscovery:DiscoverInstances", "servicediscovery:DiscoverInstancesRevision"]
      resources = [var.discovery.namespace_arn, var.discovery.service_arn]
    }
  }
}

resource "aws_ecs_service" "this" {
  name            = local.name
  cluster         = var.cluster.arn
  task_definition = module.task.definition_arn
  desired_count   = var.tasks.desired
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"

  enable_ecs_managed_tags           = true
  health_check_grace_period_seconds = 30

  # Nothing lives in a proxy: spread it as zones come and go.
  availability_zone_rebalancing = "ENABLED"

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [module.task.security_group_id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = var.load_balancer.target_group_arn
    container_name   = local.name
    container_port   = var.port
  }

  # Scaling has the last word.
  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  for_each = local.ports

  security_group_id            = module.task.security_group_id
  description                  = "Load balancer to ${each.key}"
  referenced_security_group_id = var.load_balancer.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  for_each = local.ports

  security_group_id            = var.load_balancer.security_group_id
  description                  = "Proxies, ${each.key}"
  referenced_security_group_id = module.task.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}
