# The MCP servers: tasks in private subnets that Cloud Map knows, and that only proxies can reach.

locals {
  name = "${var.name}-server"
}

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

# Private DNS, so that who has no Cloud Map client can ask for SRV records instead.
resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = "${var.name}.internal"
  description = "MCP servers of ${var.name}"
  vpc         = var.vpc_id
}

resource "aws_service_discovery_service" "this" {
  name          = "server"
  force_destroy = true

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this.id
    routing_policy = "MULTIVALUE"

    # SRV, not A: only then does ECS register the port.
    dns_records {
      type = "SRV"
      ttl  = 5
    }
  }

  # ECS reports what the container's health check says.
  health_check_custom_config {}
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
  ports                = { mcp = var.port }
  health_url           = "http://127.0.0.1:${var.port}${var.health_path}"
  stop_timeout         = var.stop_timeout
  log_retention_days   = var.log_retention_days
  secrets              = var.secrets

  environment = merge(var.environment, {
    HOST     = "0.0.0.0"
    PORT     = tostring(var.port)
    MCP_PATH = var.path
    # 5 s are left to end what runs before SIGKILL.
    DRAIN_SECONDS = tostring(var.stop_timeout - 5)
    EMF           = local.name
  })

  # Its own tasks' protection, while they hold sessions.
  permissions = {
    Protect = {
      actions = ["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"]
      resources = [join(":", [
        "arn:${data.aws_partition.current.partition}:ecs:${data.aws_region.current.region}",
        "${data.aws_caller_identity.current.account_id}:task/${var.cluster.name}/*",
      ])]
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

  enable_ecs_managed_tags = true

  # Moving tasks between zones would end sessions' homes for no reason of theirs.
  availability_zone_rebalancing = "DISABLED"

  # New tasks are there before old ones are told to go: that is whom the sessions migrate to.
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

  service_registries {
    registry_arn   = aws_service_discovery_service.this.arn
    container_name = local.name
    container_port = var.port
  }

  # Scaling has the last word.
  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_vpc_security_group_ingress_rule" "proxies" {
  security_group_id            = module.task.security_group_id
  description                  = "Proxies"
  referenced_security_group_id = var.proxy_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}

resource "aws_vpc_security_group_egress_rule" "proxies" {
  security_group_id            = var.proxy_security_group_id
  description                  = "MCP servers"
  referenced_security_group_id = module.task.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}
